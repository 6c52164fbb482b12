//! Reporting installations: nothing unless it is switched on, then the least that can be counted, once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use service_kit::clock::{Clock as _, SystemClock, TestClock};
use wiremock::matchers::{method, path};
use wiremock::{Mock, ResponseTemplate};

use crate::manager::{Manager, addon};

const INSTALLS: &str = "/api/v1/marketplace/installs";

/// Longer than the longest time between an addon's start and its report.
const LATER: Duration = Duration::from_secs(601);

impl Manager {
    async fn reporting() -> (Self, TestClock) {
        let clock = TestClock::at(SystemClock.now());
        let manager =
            Self::start_at(|config| config.marketplace.report_installs = true, Arc::new(clock.clone())).await;
        (manager, clock)
    }

    /// The bodies of the reports that its marketplace was sent.
    async fn reports(&self) -> Vec<Value> {
        let requests = self.market.received_requests().await.unwrap();
        let reports = requests.iter().filter(|request| request.url.path() == INSTALLS);
        reports.map(|request| request.body_json().unwrap()).collect()
    }

    /// What the marketplace answers to the next reports.
    async fn answer_reports(&self, answer: ResponseTemplate, times: u64) {
        Mock::given(method("POST"))
            .and(path(INSTALLS))
            .respond_with(answer)
            .up_to_n_times(times)
            .with_priority(1)
            .mount(&self.market)
            .await;
    }

    async fn look(&self) {
        self.app.reporter().unwrap().look().await.unwrap();
    }

    async fn active(&self, name: &str) -> String {
        let id = self.installed(addon(name, json!({"service_name": name}))).await;
        self.until(&id, "active").await;
        id
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_reported_unless_it_is_switched_on() {
    let manager = Manager::start().await;
    manager.active("probe").await;
    assert!(manager.app.reporter().is_none(), "there is nobody who could");
    assert!(manager.app.storage().unreported(10).await.unwrap().len() == 1, "nor is anything prepared");
    assert!(manager.reports().await.is_empty());
    manager.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_addon_that_runs_is_reported_once_by_its_name_alone() {
    let (manager, clock) = Manager::reporting().await;
    manager.answer_reports(ResponseTemplate::new(204), 10).await;
    let (one, other) = (manager.active("one").await, manager.active("other").await);
    manager.look().await;
    assert!(manager.reports().await.is_empty(), "not at once: its time would tell");
    clock.advance(LATER);
    // By itself, once it is woken.
    manager.app.reporter().unwrap().wake();
    let reports = manager
        .eventually("both are reported", async || {
            let reports = manager.reports().await;
            if reports.len() == 2 { Ok(reports) } else { Err(format!("{reports:?}")) }
        })
        .await;
    let mut names: Vec<&str> = reports.iter().map(|report| report["addon"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["one", "other"]);
    let manager_id = manager.get("/api/v1/host").await.json()["manager_id"].as_str().unwrap().to_owned();
    for report in &reports {
        assert_eq!(report.as_object().unwrap().len(), 2, "{report}");
        let number = report["report"].as_str().unwrap();
        assert_eq!(number.len(), 32);
        for known in [&one, &other, &manager_id] {
            assert!(!number.contains(known.as_str()), "{report} tells {known}");
        }
    }
    assert_ne!(reports[0]["report"], reports[1]["report"]);
    manager
        .eventually("it is noted", async || {
            let due = manager.app.storage().due_reports(clock.now() + LATER * 10_000, 10).await.unwrap();
            if due.is_empty() { Ok(()) } else { Err(format!("{due:?}")) }
        })
        .await;
    clock.advance(LATER * 1_000);
    manager.look().await;
    assert_eq!(manager.reports().await.len(), 2, "once is enough");
    manager.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marketplace_that_does_not_answer_is_asked_later_with_the_same_number_and_given_up_in_the_end() {
    let (manager, clock) = Manager::reporting().await;
    let id = manager.active("probe").await;
    manager.look().await;
    clock.advance(LATER);
    manager.answer_reports(ResponseTemplate::new(503), 1).await;
    manager.answer_reports(ResponseTemplate::new(429).insert_header("retry-after", "7200"), 1).await;
    manager.look().await;
    manager.look().await;
    assert_eq!(manager.reports().await.len(), 1, "it is not asked again at once");
    clock.advance(Duration::from_secs(700));
    manager.look().await;
    assert_eq!(manager.reports().await.len(), 2);
    clock.advance(Duration::from_secs(7_000));
    manager.look().await;
    assert_eq!(manager.reports().await.len(), 2, "it is waited for as long as was asked");
    clock.advance(Duration::from_secs(1_200));
    manager.look().await;
    let reports = manager.reports().await;
    assert_eq!(reports.len(), 3, "a marketplace that knows no such call (404) is asked no more");
    assert!(reports.iter().all(|report| *report == reports[0]), "{reports:?}");
    clock.advance(LATER * 100);
    manager.look().await;
    assert_eq!(manager.reports().await.len(), 3);
    // The addon itself is as it was.
    manager.until(&id, "active").await;

    manager.active("late").await;
    manager.look().await;
    clock.advance(Duration::from_secs(7 * 24 * 3600));
    manager.look().await;
    assert_eq!(manager.reports().await.len(), 3, "too late to be told from a new one");
    manager.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_is_not_reported() {
    let (manager, clock) = Manager::reporting().await;
    let id = manager.active("probe").await;
    manager.look().await;
    let removed =
        manager.send(reqwest::Method::DELETE, &format!("/api/v1/addons/{id}?force=true"), None).await;
    assert_eq!(removed.status, 204, "{}", removed.text);
    manager.until_gone(&id).await;
    clock.advance(LATER);
    manager.look().await;
    assert!(manager.reports().await.is_empty());
    manager.app.stop().await;
}
