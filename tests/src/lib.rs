//! The harness of the system tests: a world of its own for each test.
//!
//! A world is a network namespace, a folder in memory, a Docker Engine with its own containerd, a registry on the
//! loopback address, and the two services as the processes that users run. Nothing of it is seen from outside and
//! nothing of the host can be reached from inside, so ports are always free and a test may break what it likes.
//! Everything ends with the test's process, however that ends.
//!
//! ```no_run
//! # use system_tests::{Image, Setup};
//! system_tests::run(async |world| {
//!     let image = world.registry.push(&Image::demo("hello", "1")).await?;
//!     let market = world.marketplace(Setup::default()).await?;
//!     let manager = world.manager(Setup::default()).await?;
//!     // ...
//!     Ok(())
//! });
//! ```
//!
//! Where to read next: `world.rs` for what a world is made of, `engine.rs`, `services.rs`, `faults.rs`.

mod compose;
mod documents;
mod engine;
mod faults;
mod images;
mod isolation;
mod observe;
mod services;
mod wait;
mod world;

pub use compose::{Compose, output, repository};
pub use documents::{demo_service, oakestra_example};
pub use engine::{Engine, Signal};
pub use faults::{Fault, Proxy};
pub use images::{Image, Pushed, Registry};
pub use observe::Snapshot;
pub use services::{Answer, Manager, Marketplace, Service, Setup};
pub use wait::eventually;
pub use world::{World, demo_addon, run, run_for, target_folder};
