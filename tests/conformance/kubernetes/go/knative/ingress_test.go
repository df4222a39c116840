// Package knative runs Knative's own tests of an ingress against whatever serves the class named by --ingressClass.
package knative

import (
	"testing"

	"knative.dev/networking/test/conformance/ingress"
)

func TestIngressConformance(t *testing.T) {
	ingress.RunConformance(t)
}
