package cri

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// notFound is told from other errors by its code: the kubelet takes it as "already gone".
func notFound(kind, id string) error {
	return status.Errorf(codes.NotFound, "no %s %s", kind, id)
}
