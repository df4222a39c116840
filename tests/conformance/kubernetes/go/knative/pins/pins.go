// Package pins keeps what Serving's own tests are compiled from in go.mod and go.sum. Nothing runs it.
package pins

import (
	_ "knative.dev/caching/config"
	_ "knative.dev/serving/config/core"
	_ "knative.dev/serving/test/conformance/api/v1"
	_ "knative.dev/serving/test/conformance/runtime"
	_ "knative.dev/serving/test/e2e"
)
