//! Pure: records of Services and Ingresses to neutral load balancers. Knows no cloud.
