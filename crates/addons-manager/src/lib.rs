//! The addons manager: installs approved releases onto the local container engine and keeps them as they should be.

pub mod app;
pub mod config;
pub mod configure;
pub mod conflict;
pub mod consent;
pub mod domain;
pub mod host;
pub mod http;
pub mod install;
pub mod listeners;
pub mod logins;
pub mod marketplace;
pub mod reconciler;
pub mod reports;
pub mod requirement;
pub mod resolve;
pub mod runtime;
pub mod state;
pub mod storage;
pub mod uninstall;
pub mod upgrade;
