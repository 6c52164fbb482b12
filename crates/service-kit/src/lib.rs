//! What both services share around their own job: configuration, telemetry, problem responses, tokens, health, metrics,
//! guards, the database pools, the route table and the server around it. It knows neither service.

pub mod auth;
pub mod clock;
pub mod db;
pub mod problem;
pub mod random;
