//! The backend of loopback addresses: a pod is an address, for machines that forbid namespaces.
