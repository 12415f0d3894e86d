//! System calls that need unsafe: AF_PACKET sockets and AsyncFd registration
