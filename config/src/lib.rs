//! Settings of a node: composed, checked, documented
