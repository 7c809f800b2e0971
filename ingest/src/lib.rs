//! The HTTP front for lead providers
