// Package kubernetes pins the control plane that the tests run, and what their node is built from.
package kubernetes

import (
	_ "k8s.io/api/core/v1"
	_ "k8s.io/client-go/kubernetes"
)
