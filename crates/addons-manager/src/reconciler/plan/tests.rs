//! Tables of the planner's rules: one state, one expectation, named for the rule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use addon_client::InstallationStatus;
use service_kit::clock::Timestamp;

use super::graph::{Plan, Step, WaitReason};
use super::plan;
use crate::domain::installation::{Desired, InstallationId};
use crate::domain::specification::{DependencyCondition, RestartPolicy, RevisionSpecification};
use crate::reconciler::backoff;
use crate::reconciler::state::{
    Asked, Attempt, AttemptError, Completion, ContainerRow, DesiredState, EndedBy, ErrorKind, ImageRow,
    InstallationRow, NONCE_LABEL, NetworkRow, PolicyReason, Role, StartedBy, VolumeRow, World, observe,
};
use crate::reconciler::tests::bench::{after, job, revision, service, with_check, with_volume};
use crate::runtime::{
    ContainerState, Health, InspectedContainer, ListedAttachment, ListedContainer, ListedNetwork,
    ListedVolume, Listing,
};

const NOW: i64 = 10_000_000;

/// A state that a rule is tried on: begun as installed and well, then changed.
struct Case {
    desired: DesiredState,
    listing: Listing,
    inspected: BTreeMap<String, Option<InspectedContainer>>,
}

fn at(seconds_ago: i64) -> Timestamp {
    Timestamp::from_millis(NOW - seconds_ago * 1_000)
}

/// Nothing was made yet.
fn fresh(specification: RevisionSpecification) -> Case {
    let digests =
        specification.services.iter().map(|(name, service)| (name.clone(), service.digest())).collect();
    let desired = DesiredState {
        installation: InstallationRow {
            id: InstallationId::new(1, [1; 8]),
            name: "shop".into(),
            addon: "shop".into(),
            release_id: "r".into(),
            desired: Desired::Active,
            generation: 1,
            revision: 1,
            restart_generation: 0,
            epoch: 0,
            been_up: BTreeSet::new(),
            delete_volumes: false,
            status: InstallationStatus::Installing,
            status_since: at(100),
            conditions: Vec::new(),
            service_states: Vec::new(),
        },
        specification,
        digests,
        moved: BTreeMap::new(),
        rollout: None,
        outdated: BTreeMap::new(),
        images: BTreeMap::new(),
        tags: BTreeSet::new(),
        containers: Vec::new(),
        networks: Vec::new(),
        volumes: Vec::new(),
        completions: BTreeMap::new(),
        attempts: BTreeMap::new(),
        courtesy_taken: BTreeSet::new(),
        aliases_claimed: BTreeSet::new(),
    };
    Case { desired, listing: Listing::default(), inspected: BTreeMap::new() }
}

/// Its images are known.
fn pulled(specification: RevisionSpecification) -> Case {
    let mut case = fresh(specification);
    for name in case.desired.specification.services.keys() {
        let image = ImageRow {
            image_id: format!("image-{name}"),
            tag: format!("tag-{name}"),
            volumes: Vec::new(),
            has_healthcheck: false,
        };
        case.desired.images.insert(name.clone(), image);
    }
    case
}

/// Everything runs as it should.
fn well(specification: RevisionSpecification) -> Case {
    let mut case = pulled(specification);
    for (row, (name, specification)) in (1..).zip(case.desired.specification.networks.clone()) {
        case.desired.networks.push(NetworkRow {
            row,
            platform: false,
            name: name.clone(),
            nonce: format!("nonce-{name}"),
            engine_id: Some(format!("id-{name}")),
            surplus: false,
        });
        case.listing.networks.push(ListedNetwork {
            id: format!("id-{name}"),
            name,
            driver: specification.driver,
            subnets: specification.subnets,
            ..ListedNetwork::default()
        });
    }
    for (row, (name, specification)) in (1..).zip(case.desired.specification.volumes.clone()) {
        let nonce = format!("nonce-{name}");
        case.listing.volumes.push(ListedVolume {
            name: name.clone(),
            driver: "local".into(),
            options: BTreeMap::new(),
            labels: [(NONCE_LABEL.to_owned(), nonce.clone())].into(),
        });
        case.desired.volumes.push(VolumeRow { row, name, nonce, specification });
    }
    for (row, (name, service)) in (1..).zip(case.desired.specification.services.clone()) {
        let mounts: BTreeMap<_, _> =
            service.mounts.iter().map(|mount| (mount.target.clone(), mount.source.clone())).collect();
        let networks = super::networks::attachments(&service).iter().map(|attachment| {
            let listed = ListedAttachment { network_name: attachment.network.clone(), addresses: Vec::new() };
            (format!("id-{}", attachment.network), listed)
        });
        case.listing.containers.push(ListedContainer {
            id: format!("id-{name}"),
            name: service.container_name.clone(),
            image_id: format!("image-{name}"),
            state: ContainerState::Running,
            networks: networks.collect(),
            mounts: mounts
                .keys()
                .map(|target| crate::runtime::ListedMount {
                    target: target.clone(),
                    volume: case.desired.specification.volumes.keys().next().cloned(),
                    host_path: None,
                    read_only: false,
                })
                .collect(),
            ..ListedContainer::default()
        });
        case.desired.containers.push(ContainerRow {
            row,
            service: name.clone(),
            role: Role::Current,
            name: service.container_name.clone(),
            nonce: format!("nonce-{name}"),
            engine_id: Some(format!("id-{name}")),
            spec_digest: service.digest(),
            asked: Asked {
                restart: service.restart,
                why: PolicyReason::Specified,
                image_id: format!("image-{name}"),
                mounts,
                courtesy: BTreeMap::new(),
            },
            providers: BTreeMap::new(),
            verified: true,
            started_at: None,
            started_at_before: None,
            restart_generation: 0,
        });
        case.desired.attempts.insert(name.clone(), vec![run(60, None, None)]);
        case.desired.installation.been_up.insert(name);
    }
    case
}

/// A run that began so many seconds ago, and ended so by whom with that code.
fn run(began: i64, ended: Option<(i64, i64)>, by: Option<EndedBy>) -> Attempt {
    Attempt {
        row: 1_000_000 - began,
        engine_id: Some("id-web".into()),
        started_by: StartedBy::Manager,
        started_at: at(began),
        unhealthy_at: None,
        ended_at: ended.map(|(ago, _)| at(ago)),
        exit_code: ended.map(|(_, code)| code),
        oom: false,
        ended_by: by,
        watched: true,
        error: None,
        not_before: None,
        logs: Some(String::new()),
    }
}

fn failed(ago: i64, kind: ErrorKind) -> Attempt {
    let error = Some(AttemptError { kind, message: format!("it failed with {}", kind.as_str()) });
    Attempt { engine_id: None, error, ..run(ago, Some((ago, 0)), Some(EndedBy::Manager)) }
}

impl Case {
    fn plan(&self) -> Plan {
        let world = Arc::new(World::new(self.listing.clone()));
        let observed = observe(&self.desired, &world, &self.inspected);
        plan(&self.desired, &observed, Timestamp::from_millis(NOW))
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn container(&mut self, service: &str) -> &mut ListedContainer {
        let id = format!("id-{service}");
        self.listing.containers.iter_mut().find(|container| container.id == id).unwrap()
    }

    fn history(&mut self, service: &str, attempts: Vec<Attempt>) {
        self.desired.attempts.insert(service.to_owned(), attempts);
    }
}

/// Steps as `kind service` in an order in which they could be done, each with those before it that it waits for.
fn steps(plan: &Plan) -> Vec<String> {
    let name = |number: usize| {
        let planned = &plan.steps[number];
        let service = planned.service.as_deref().map(|service| format!(" {service}")).unwrap_or_default();
        format!("{}{service}", planned.step.kind())
    };
    let mut lines: Vec<String> = (0..plan.steps.len())
        .map(|number| {
            let parents: BTreeSet<String> =
                plan.steps[number].parents.iter().map(|parent| name(parent.0)).collect();
            let after = if parents.is_empty() {
                String::new()
            } else {
                format!(" after {}", Vec::from_iter(parents).join(", "))
            };
            format!("{}{after}", name(number))
        })
        .collect();
    lines.sort();
    lines
}

#[track_caller]
fn check(case: &Case, expected: &[&str]) {
    let plan = case.plan();
    assert_eq!(steps(&plan), expected, "waiting: {:?}", plan.waiting);
    assert_eq!(plan, case.plan(), "the same input makes the same plan");
    for (number, planned) in plan.steps.iter().enumerate() {
        assert!(planned.parents.iter().all(|parent| parent.0 < number), "each step stands after its parents");
        assert!(!planned.cause.is_empty(), "each step says why");
    }
}

#[track_caller]
fn check_wait(case: &Case, service: &str, reason: WaitReason, message: &str) {
    let plan = case.plan();
    let wait = plan
        .waiting
        .get(service)
        .unwrap_or_else(|| panic!("{service} waits for nothing: {:?}", steps(&plan)));
    assert_eq!(wait.reason, reason, "{wait:?}");
    assert!(wait.message.contains(message), "{wait:?}");
}

fn web() -> RevisionSpecification {
    revision(vec![service("shop", "web")])
}

fn web_and_db(condition: DependencyCondition) -> RevisionSpecification {
    revision(vec![with_check(service("shop", "db")), after(service("shop", "web"), "db", condition)])
}

#[test]
fn what_is_as_it_should_be_has_an_empty_plan() {
    for specification in [
        web(),
        web_and_db(DependencyCondition::ServiceStarted),
        revision(vec![with_volume(service("shop", "db"), "shop_d", "/d")]),
    ] {
        let plan = well(specification).plan();
        assert_eq!((plan.steps, plan.waiting.len(), plan.look_again), (Vec::new(), 0, None));
    }
}

#[test]
fn images_are_pulled_while_networks_and_volumes_are_made_and_containers_come_when_they_are_known() {
    let specification = revision(vec![with_volume(service("shop", "web"), "shop_d", "/d")]);
    check(&fresh(specification.clone()), &["create_network web", "create_volume web", "pull_image web"]);
    check(
        &pulled(specification),
        &[
            "create_container web after create_network web, create_volume web",
            "create_network web",
            "create_volume web",
            "start_container web after create_container web",
        ],
    );
}

#[test]
fn containers_are_created_side_by_side_and_started_in_order() {
    check(
        &pulled(revision(vec![
            service("shop", "db"),
            after(service("shop", "web"), "db", DependencyCondition::ServiceStarted),
        ])),
        &[
            "create_container db after create_network db",
            "create_container web after create_network db",
            "create_network db",
            "start_container db after create_container db",
            "start_container web after create_container web, start_container db",
        ],
    );
}

#[test]
fn a_start_waits_for_health_and_the_create_does_not() {
    let case = pulled(web_and_db(DependencyCondition::ServiceHealthy));
    check(
        &case,
        &[
            "create_container db after create_network db",
            "create_container web after create_network db",
            "create_network db",
            "start_container db after create_container db",
        ],
    );
    check_wait(&case, "web", WaitReason::Dependency, "waits for db to be healthy");
}

#[test]
fn a_job_that_failed_holds_back_what_waits_for_its_completion() {
    let specification = revision(vec![
        job("shop", "migrate", RestartPolicy::No),
        after(service("shop", "web"), "migrate", DependencyCondition::ServiceCompletedSuccessfully),
    ]);
    let case = well(specification).with(|case| {
        case.container("migrate").state = ContainerState::Exited;
        case.container("web").state = ContainerState::Created;
        case.desired.installation.been_up.clear();
        let mut attempt = run(9, Some((5, 1)), Some(EndedBy::Itself));
        attempt.engine_id = Some("id-migrate".into());
        case.history("migrate", vec![attempt]);
        case.history("web", Vec::new());
    });
    check(&case, &[]);
    check_wait(&case, "web", WaitReason::Dependency, "which waits itself: it exited with 1");
    check_wait(&case, "migrate", WaitReason::JobFailed, "run again after a restart is asked for");
}

#[test]
fn completion_rules() {
    // Policy, runs from the oldest (code, who ended it), what follows.
    use EndedBy::{Engine, Itself, Person};
    type Row<'a> = (RestartPolicy, &'a [(i64, EndedBy)], Result<&'a [&'a str], WaitReason>);
    let table: &[Row<'_>] = &[
        (RestartPolicy::No, &[(1, Itself)], Err(WaitReason::JobFailed)),
        (RestartPolicy::No, &[(0, Person)], Ok(&["start_container web"])),
        (RestartPolicy::No, &[(137, Person)], Ok(&["start_container web"])),
        (RestartPolicy::No, &[(0, Engine)], Ok(&["start_container web"])),
        (RestartPolicy::No, &[(143, Engine)], Ok(&["start_container web"])),
        (RestartPolicy::OnFailure(Some(2)), &[(1, Itself)], Ok(&["start_container web"])),
        (RestartPolicy::OnFailure(Some(2)), &[(1, Itself), (1, Itself)], Err(WaitReason::Backoff)),
        (
            RestartPolicy::OnFailure(Some(2)),
            &[(1, Itself), (1, Itself), (1, Itself)],
            Err(WaitReason::JobFailed),
        ),
        (
            RestartPolicy::OnFailure(Some(2)),
            &[(1, Itself), (137, Person), (1, Itself), (1, Itself)],
            Err(WaitReason::JobFailed),
        ),
        (RestartPolicy::OnFailure(None), &[(1, Itself), (1, Itself), (1, Itself)], Err(WaitReason::Backoff)),
    ];
    for (policy, runs, expected) in table {
        let case = well(revision(vec![job("shop", "web", *policy)])).with(|case| {
            case.container("web").state = ContainerState::Exited;
            let count = i64::try_from(runs.len()).unwrap();
            let attempts = (0..count)
                .zip(runs.iter())
                .map(|(place, (code, by))| run(count - place + 1, Some((count - place, *code)), Some(*by)));
            let mut attempts: Vec<Attempt> = attempts.collect();
            attempts.reverse();
            case.history("web", attempts);
        });
        match expected {
            Ok(expected) => check(&case, expected),
            Err(reason) => {
                check(&case, &[]);
                check_wait(&case, "web", *reason, "");
            }
        }
        let done = case.with(|case| {
            case.desired.completions.insert("web".into(), Completion { finished_at: at(1), watched: true });
        });
        check(&done, &[]);
        assert!(done.plan().waiting.is_empty());
    }
}

#[test]
fn what_a_person_did_is_started_at_once_and_what_failed_twice_waits() {
    let exited = |attempts: Vec<Attempt>| {
        well(web()).with(|case| {
            case.container("web").state = ContainerState::Exited;
            case.history("web", attempts);
        })
    };
    let person = |ago| run(ago + 1, Some((ago, 137)), Some(EndedBy::Person));
    let itself = |ago| run(ago + 1, Some((ago, 1)), Some(EndedBy::Itself));
    check(&exited(vec![person(1)]), &["start_container web"]);
    check(&exited(vec![person(1), person(3), person(5)]), &["start_container web"]);
    check(&exited(vec![itself(1)]), &["start_container web"]);
    check_wait(
        &exited(vec![itself(1), itself(3)]),
        "web",
        WaitReason::Backoff,
        "it exited with 1 (2 failures in a row)",
    );
    check(&exited(vec![itself(12), itself(30)]), &["start_container web"]);
    check_wait(&exited(vec![itself(12), itself(30), itself(50)]), "web", WaitReason::Backoff, "3 failures");
    // A good run between them forgets.
    check(
        &exited(vec![run(700, Some((1, 1)), Some(EndedBy::Itself)), itself(800), itself(900)]),
        &["start_container web"],
    );
    let due = exited(vec![itself(1), itself(3)]).plan().look_again.unwrap();
    assert!(due >= at(1) + backoff::FIRST_DELAY && due <= at(1) + Duration::from_secs(11), "{due:?}");
}

#[test]
fn a_clock_that_was_set_back_holds_nothing_back() {
    let case = pulled(web()).with(|case| {
        case.history("web", vec![failed(-86_400, ErrorKind::Retry), failed(-86_401, ErrorKind::Retry)]);
    });
    assert!(!case.plan().steps.is_empty());
}

#[test]
fn each_kind_of_error_waits_in_its_way() {
    let case = |attempts: Vec<Attempt>| pulled(web()).with(|case| case.history("web", attempts));
    assert!(!case(vec![failed(0, ErrorKind::Retry)]).plan().steps.is_empty(), "the first time at once");
    check_wait(
        &case(vec![failed(0, ErrorKind::Retry), failed(1, ErrorKind::Retry)]),
        "web",
        WaitReason::Backoff,
        "retry",
    );
    check_wait(&case(vec![failed(9_000, ErrorKind::Never)]), "web", WaitReason::Never, "never");
    for kind in [
        ErrorKind::PortTaken,
        ErrorKind::NameTaken,
        ErrorKind::DiskFull,
        ErrorKind::Authentication,
        ErrorKind::Configuration,
        ErrorKind::AddressPool,
        ErrorKind::InUse,
    ] {
        let slow = backoff::slow_delay(kind).unwrap().as_secs();
        check_wait(&case(vec![failed(1, kind)]), "web", WaitReason::Change, kind.as_str());
        let later = case(vec![failed(i64::try_from(slow).unwrap(), kind)]);
        assert!(!later.plan().steps.is_empty(), "{kind:?} is tried again");
    }
    assert!(
        !case(vec![failed(1, ErrorKind::Forgiven), failed(2, ErrorKind::Forgiven)]).plan().steps.is_empty()
    );
}

#[test]
fn what_the_engine_restarts_is_watched_until_it_did_so_five_times_within_five_minutes() {
    let restarted = |count: i64, apart: i64| {
        well(web()).with(|case| {
            case.container("web").state = ContainerState::Restarting;
            let runs = (0..count).map(|n| Attempt {
                started_by: StartedBy::Engine,
                ..run(n * apart + 2, Some((n * apart + 1, 1)), Some(EndedBy::Itself))
            });
            let first = run(count * apart + 2, Some((count * apart + 1, 1)), Some(EndedBy::Itself));
            case.history("web", runs.chain([first]).collect());
        })
    };
    check(&restarted(4, 10), &[]);
    check_wait(&restarted(4, 10), "web", WaitReason::Engine, "4 times");
    check(&restarted(5, 10), &["set_policy web"]);
    let plan = restarted(5, 10).plan();
    assert!(matches!(
        plan.steps[0].step,
        Step::SetPolicy { policy: RestartPolicy::No, why: PolicyReason::CrashLoop, .. }
    ));
    check(&restarted(8, 80), &[]);
}

#[test]
fn a_container_in_our_hands_gets_its_policy_back_after_ten_good_minutes() {
    let ours = |since: i64| {
        well(web()).with(|case| {
            case.desired.containers[0].asked.why = PolicyReason::CrashLoop;
            case.desired.containers[0].asked.restart = RestartPolicy::No;
            case.history("web", vec![run(since, None, None)]);
        })
    };
    check(&ours(599), &[]);
    assert_eq!(ours(599).plan().look_again, Some(at(599) + backoff::GOOD_RUN));
    check(&ours(600), &["set_policy web"]);
}

#[test]
fn an_unhealthy_one_is_restarted_unless_it_is_not_to_be() {
    let unhealthy = |wanted: bool| {
        let mut web = with_check(service("shop", "web"));
        web.restart_unhealthy = wanted;
        well(revision(vec![web])).with(|case| {
            case.container("web").health = Some(Health::Unhealthy);
            case.history("web", vec![Attempt { unhealthy_at: Some(at(0)), ..run(60, None, None) }]);
        })
    };
    check(&unhealthy(true), &["start_container web after stop_container web", "stop_container web"]);
    check(&unhealthy(false), &[]);
}

#[test]
fn drift_that_costs_the_container() {
    type Change = fn(&mut Case);
    let table: &[(&str, Change)] = &[
        ("a changed specification", |case| case.desired.containers[0].spec_digest = "another".into()),
        ("a changed image", |case| case.container("web").image_id = "another".into()),
        ("a lost mount", |case| case.container("web").mounts.clear()),
    ];
    for (name, change) in table {
        let case = well(revision(vec![with_volume(service("shop", "web"), "shop_d", "/d")])).with(change);
        let found = steps(&case.plan());
        let expected = [
            "create_container web after pull_image web, remove_container web",
            "pull_image web",
            "remove_container web after stop_container web",
            "set_policy web after pull_image web",
            "start_container web after create_container web",
            "stop_container web after set_policy web",
        ];
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn nothing_running_is_stopped_before_every_image_is_there() {
    let case = well(revision(vec![service("shop", "new"), service("shop", "web")])).with(|case| {
        case.desired.containers.retain(|row| row.service != "new");
        case.listing.containers.retain(|container| container.id != "id-new");
        case.desired.images.remove("new");
        case.desired.containers[0].restart_generation = -1;
    });
    check(
        &case,
        &[
            "pull_image new",
            "start_container web after stop_container web",
            "stop_container web after pull_image new",
        ],
    );
}

#[test]
fn nothing_is_stopped_that_could_not_be_made_again() {
    let case = well(web()).with(|case| {
        case.desired.containers[0].spec_digest = "another".into();
        case.desired.networks.clear();
    });
    let plan = case.plan();
    assert!(
        !plan
            .steps
            .iter()
            .any(|planned| matches!(planned.step, Step::StopContainer { .. } | Step::RemoveContainer { .. }))
    );
    check_wait(&case, "web", WaitReason::Conflict, "not this addon's");
}

#[test]
fn of_two_services_in_each_others_way_the_well_one_is_left_alone() {
    let case = well(revision(vec![service("shop", "db"), service("shop", "web")])).with(|case| {
        case.container("web").state = ContainerState::Exited;
        case.history("web", vec![failed(1, ErrorKind::Never)]);
    });
    check(&case, &[]);
}

#[test]
fn removal_is_in_reverse_order_with_the_policy_first() {
    let case = well(web_and_db(DependencyCondition::ServiceStarted))
        .with(|case| case.desired.installation.desired = Desired::Disabled);
    check(
        &case,
        &[
            "remove_container db after stop_container db",
            "remove_container web after stop_container web",
            "remove_network after remove_container db, remove_container web",
            "set_policy db after remove_container web",
            "set_policy web",
            "stop_container db after set_policy db",
            "stop_container web after set_policy web",
        ],
    );
}

#[test]
fn uninstalling_forgets_last_and_deletes_volumes_only_when_told() {
    for delete in [false, true] {
        let case = well(revision(vec![with_volume(service("shop", "web"), "shop_d", "/d")])).with(|case| {
            case.desired.installation.desired = Desired::Absent;
            case.desired.installation.delete_volumes = delete;
            case.desired.tags.insert("tag-web".into());
        });
        let plan = case.plan();
        let last = plan.steps.last().unwrap();
        let Step::Forget { kept_volumes } = &last.step else { panic!("{last:?}") };
        assert_eq!(kept_volumes.len(), usize::from(!delete));
        assert!(
            plan.steps.iter().all(|planned| !delete || !matches!(planned.step, Step::CreateVolume { .. }))
        );
        let removes =
            plan.steps.iter().filter(|planned| matches!(planned.step, Step::RemoveVolume { .. })).count();
        assert_eq!(removes, usize::from(delete));
        assert!(plan.steps.iter().any(|planned| matches!(planned.step, Step::Untag { .. })));
    }
}

#[test]
fn a_disabling_that_failed_waits_before_it_is_tried_again() {
    let case = well(web()).with(|case| {
        case.desired.installation.desired = Desired::Disabled;
        case.history("", vec![failed(1, ErrorKind::InUse)]);
    });
    check(&case, &[]);
    check_wait(&case, "", WaitReason::Change, "in-use");
}

#[test]
fn labels_prove_nothing_once_the_id_is_known() {
    let mut case = well(web());
    // A copy with our name, our labels and the nonce of our row.
    let mut copy = case.container("web").clone();
    copy.id = "copy".into();
    copy.labels.insert(NONCE_LABEL.into(), "nonce-web".into());
    copy.state = ContainerState::Exited;
    case.listing.containers.retain(|container| container.id != "id-web");
    case.listing.containers.push(copy);
    check(&case, &[]);
    check_wait(&case, "web", WaitReason::Conflict, "it is left alone");
}

#[test]
fn before_the_id_is_known_name_and_nonce_prove_and_one_of_them_does_not() {
    let pending = |name: &str, nonce: &str| {
        let (name, nonce) = (name.to_owned(), nonce.to_owned());
        well(web()).with(move |case| {
            case.desired.containers[0].engine_id = None;
            case.desired.containers[0].verified = false;
            case.history("web", Vec::new());
            let container = case.container("web");
            container.state = ContainerState::Created;
            container.name = name;
            container.labels.insert(NONCE_LABEL.into(), nonce);
        })
    };
    check(
        &pending("shop-web", "nonce-web"),
        &["start_container web after verify_container web", "verify_container web"],
    );
    check_wait(&pending("shop-web", "another"), "web", WaitReason::Conflict, "shop-web");
    check(
        &pending("other", "nonce-web"),
        &["create_container web", "start_container web after create_container web"],
    );
}

#[test]
fn a_container_on_a_volume_that_nothing_proves_says_so() {
    let on_volume = || well(revision(vec![with_volume(service("shop", "web"), "shop_d", "/d")]));
    assert_eq!(on_volume().plan().conditions, []);
    for (nonce, way_on) in [(Some("another"), "/api/v1/host/foreign/shop_d/adopt"), (None, "copy its data")] {
        let case = on_volume().with(|case| {
            case.desired.volumes.clear();
            case.listing.volumes[0].labels.clear();
            case.listing.volumes[0]
                .labels
                .extend(nonce.map(|nonce| (NONCE_LABEL.to_owned(), nonce.to_owned())));
        });
        check(&case, &[]);
        let conditions = case.plan().conditions;
        assert_eq!(conditions[0].kind, "volume_unproven");
        let message = &conditions[0].message;
        assert!(message.contains("shop_d") && message.contains(way_on), "{message}");
    }
}

#[test]
fn a_volume_that_is_not_what_was_asked_for_is_not_used() {
    let case = well(revision(vec![with_volume(service("shop", "web"), "shop_d", "/d")])).with(|case| {
        case.listing.volumes[0].options.insert("device".into(), "/".into());
        case.listing.containers.clear();
    });
    check(&case, &[]);
    check_wait(&case, "web", WaitReason::Conflict, "its option device");
}
