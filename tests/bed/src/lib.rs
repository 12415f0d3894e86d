//! The test bed: a real Kubernetes control plane and nodes in network namespaces
