//! The match index, the routing decision, and the stage around it
