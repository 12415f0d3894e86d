//! The neutral load-balancer model, plans, errors, names and the CloudProvider trait
