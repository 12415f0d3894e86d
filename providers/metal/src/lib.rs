//! Bare metal: MetalLB's kinds, address allocation, election, who announces what; pure
