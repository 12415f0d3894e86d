//! Everything that talks to the API server: watches, lease, status, Events. All I/O towards Kubernetes is here.
