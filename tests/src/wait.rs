//! Waiting on a condition, never on a time.

use std::time::{Duration, Instant};

use anyhow::Context;

/// How often a condition is looked at: often enough that a measured time means something.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// Looks until the condition holds; its value and how long that took. An `Err` is "not yet": when the limit is over,
/// the last one says what was still missing.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Duration)> {
    let begun = Instant::now();
    let mut last: Option<anyhow::Error> = None;
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        let missing = match tokio::time::timeout(left.max(LOOK_EVERY), condition()).await {
            Ok(Ok(value)) => return Ok((value, begun.elapsed())),
            Ok(Err(missing)) => missing,
            // Cut off by the limit: what it said before tells more.
            Err(_) => last.unwrap_or_else(|| anyhow::anyhow!("the condition itself did not come back")),
        };
        if begun.elapsed() >= limit {
            return Err(missing).with_context(|| format!("not within {limit:?}: {what}"));
        }
        last = Some(missing);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
