//! The addons-manager service.
