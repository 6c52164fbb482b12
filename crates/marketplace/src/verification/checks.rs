//! The rules that a release is held to. Pure: (descriptor, facts) to verdicts, with the evidence they rest on.
//!
//! A check that could not be made is `no_answer`, never `pass`.

use std::collections::{BTreeMap, BTreeSet};

use addon_client::{Check, Finding, Pin, PlatformManifest, Timestamp, Verdict};
use addon_descriptor::descriptor::HealthTest;
use addon_descriptor::{AddonDescriptor, Right, ServiceSpec, rules};
use serde_json::{Map, Value, json};

use super::facts::Facts;
use super::registry::platform::Platform;
use super::registry::{ImageFacts, PlatformFacts, RegistryError};
use crate::domain::name::reads_like;

/// Platforms of one image whose configuration is shown; few images have more.
const MAX_SHOWN: usize = 16;

/// What is known about a release beside its document.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Names, folded, that no addon may have.
    pub reserved: BTreeSet<String>,
    /// An addon of others, approved earlier, whose name reads like this one's.
    pub look_alike: Option<String>,
    /// One whose name is a slip of a finger away, where no release of this addon was approved yet.
    pub near: Option<String>,
    /// Rights of the addon's last approved release.
    pub approved_rights: BTreeSet<Right>,
    /// The release is approved, and its images are looked for again: only what says that one is gone is against it.
    pub approved: bool,
    /// Which run of the checks this is, from 1.
    pub attempts: u32,
    /// When it is made.
    pub now: Timestamp,
}

/// What the rules found.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    /// Every check, in a fixed order.
    pub checks: Vec<Check>,
    /// What each service's image is; complete when every image was found.
    pub pins: Vec<Pin>,
}

/// Holds a release to every rule.
pub fn judge(descriptor: &AddonDescriptor, facts: &Facts, context: &Context) -> Findings {
    let mut checks = vec![name(descriptor, context)];
    let mut pins = Vec::new();
    for service in &descriptor.services {
        let answer = facts.images.get(service.image.as_written());
        checks.push(image_exists(service, answer, context));
        checks.push(platforms_fit(descriptor, service, answer, context));
        if let Some(Ok(image)) = answer {
            pins.push(pin(service, image));
        }
    }
    checks.push(rights(descriptor, context));
    Findings { checks, pins }
}

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameFault {
    /// No addon may have it, or it reads like one that no addon may have.
    Reserved,
    /// It reads like the name of an addon of others.
    LookAlike,
    /// It is a slip of a finger away from one: a reviewer decides.
    Near,
}

/// What is wrong with the name, and how that is said.
pub fn name_fault(descriptor: &AddonDescriptor, context: &Context) -> Option<(NameFault, String)> {
    let name = descriptor.name.as_str();
    let folded = descriptor.name.folded();
    let reserved = context.reserved.iter().find(|reserved| reads_like(&folded, reserved));
    if let Some(reserved) = reserved {
        let is =
            if *reserved == folded { "is".to_owned() } else { format!("reads like {reserved}, which is") };
        let message = format!("the name {name} {is} reserved; publish under another one");
        return Some((NameFault::Reserved, message));
    }
    if let Some(other) = &context.look_alike {
        let message =
            format!("the name {name} reads like {other}, which belongs to somebody else; take another one");
        return Some((NameFault::LookAlike, message));
    }
    let other = context.near.as_ref()?;
    let message = format!(
        "the name {name} is a slip away from {other}, which belongs to somebody else: a reviewer decides"
    );
    Some((NameFault::Near, message))
}

fn name(descriptor: &AddonDescriptor, context: &Context) -> Check {
    let name = descriptor.name.as_str();
    let (verdict, message) = match name_fault(descriptor, context) {
        Some((NameFault::Reserved | NameFault::LookAlike, message)) => (Verdict::Fail, message),
        Some((NameFault::Near, message)) => (Verdict::Pass, message),
        None => (Verdict::Pass, format!("the name {name} is neither reserved nor easily taken for another")),
    };
    let look_alike = context.look_alike.iter().map(|other| ("look_alike".to_owned(), json!(other)));
    let near = context.near.iter().map(|other| ("near".to_owned(), json!(other)));
    let evidence = look_alike.chain(near).collect();
    check("name-allowed", Some(name), verdict, message, evidence, context)
}

fn image_exists(
    service: &ServiceSpec,
    answer: Option<&Result<ImageFacts, RegistryError>>,
    context: &Context,
) -> Check {
    let image = service.image.as_written();
    let mut evidence = Map::from_iter([("image".to_owned(), json!(image))]);
    let (verdict, message) = match answer {
        Some(Ok(facts)) => {
            evidence.insert("digest".to_owned(), json!(facts.digest));
            evidence.insert("platforms".to_owned(), json!(platform_names(facts)));
            evidence.insert("bytes".to_owned(), json!(largest(facts)));
            evidence.insert("images".to_owned(), facts.platforms.iter().take(MAX_SHOWN).map(shown).collect());
            if let Some(more @ 1..) = facts.platforms.len().checked_sub(MAX_SHOWN) {
                evidence.insert("images_left_out".to_owned(), json!(more));
            }
            let mut message = format!("{image} is in its registry as {}", facts.digest);
            if !facts.remarks.is_empty() {
                message = format!("{message}; {}", facts.remarks.join("; "));
                evidence.insert("remarks".to_owned(), json!(facts.remarks));
            }
            (Verdict::Pass, message)
        }
        Some(Err(error)) if error.is_no_answer() => (Verdict::NoAnswer, format!("{image}: {error}")),
        Some(Err(error)) if context.approved && !error.is_gone() => (Verdict::NoAnswer, error.to_string()),
        Some(Err(error)) => (Verdict::Fail, error.to_string()),
        None => (Verdict::NoAnswer, format!("{image}: its registry did not answer in time")),
    };
    check("image-exists", Some(service.service_name.as_str()), verdict, message, evidence, context)
}

/// What each platform's image is and says of itself, for reviewers.
fn shown(part: &PlatformFacts) -> Value {
    let mut shown = json!({
        "platform": part.platform.to_string(), "digest": part.manifest, "bytes": part.bytes, "layers": part.layers,
    });
    if let (Some(shown), Ok(Value::Object(said))) = (shown.as_object_mut(), serde_json::to_value(&part.image))
    {
        shown.extend(said);
    }
    shown
}

fn platforms_fit(
    descriptor: &AddonDescriptor,
    service: &ServiceSpec,
    answer: Option<&Result<ImageFacts, RegistryError>>,
    context: &Context,
) -> Check {
    let image = service.image.as_written();
    let subject = Some(service.service_name.as_str());
    let Some(Ok(facts)) = answer else {
        let message = format!("the platforms of {image} are not known");
        // Whether the image is there is another check's verdict; this one just cannot be made.
        return check("platforms-fit", subject, Verdict::NoAnswer, message, Map::new(), context);
    };
    let missing: Vec<&str> =
        wanted(descriptor, service).into_iter().filter(|wanted| !has(facts, wanted)).collect();
    let has = platform_names(facts);
    let (verdict, message) = if missing.is_empty() {
        (Verdict::Pass, format!("{image} is for {}", has.join(", ")))
    } else {
        let message = format!(
            "{image} is for {} and not for {}, which is required",
            has.join(", "),
            missing.join(", ")
        );
        (Verdict::Fail, message)
    };
    let evidence =
        Map::from_iter([("platforms".to_owned(), json!(has)), ("missing".to_owned(), json!(missing))]);
    check("platforms-fit", subject, verdict, message, evidence, context)
}

/// The platforms that a service's image must have: its own where it names one, else those that the addon requires.
fn wanted(descriptor: &AddonDescriptor, service: &ServiceSpec) -> BTreeSet<&'static str> {
    match service.platform {
        Some(platform) => BTreeSet::from([platform.as_str()]),
        None => descriptor.requires.platforms.iter().map(|platform| platform.as_str()).collect(),
    }
}

fn has(facts: &ImageFacts, wanted: &str) -> bool {
    let host: Result<Platform, _> = wanted.parse();
    host.is_ok_and(|host| facts.platforms.iter().any(|image| host.runs(&image.platform)))
}

fn rights(descriptor: &AddonDescriptor, context: &Context) -> Check {
    let rights = addon_descriptor::rights(descriptor);
    let added: Vec<&str> = rights.difference(&context.approved_rights).map(Right::as_str).collect();
    let dropped: Vec<&str> = context.approved_rights.difference(&rights).map(Right::as_str).collect();
    let message = match (rights.is_empty(), added.is_empty()) {
        (true, _) => "the addon asks for nothing beyond its own containers".to_owned(),
        (false, true) => "the addon asks for no right that its last approved release did not have".to_owned(),
        (false, false) => format!("new since the last approved release: {}", added.join(", ")),
    };
    let evidence = Map::from_iter([
        ("rights".to_owned(), json!(rights)),
        ("added".to_owned(), json!(added)),
        ("dropped".to_owned(), json!(dropped)),
        ("risk".to_owned(), json!(addon_descriptor::risk(&rights))),
    ]);
    check("rights-known", None, Verdict::Pass, message, evidence, context)
}

fn pin(service: &ServiceSpec, facts: &ImageFacts) -> Pin {
    let manifests = facts.platforms.iter().map(|part| PlatformManifest {
        platform: part.platform.to_string(),
        digest: part.manifest,
        config: part.config,
        bytes: part.bytes,
    });
    Pin {
        service_name: service.service_name.to_string(),
        image: service.image.as_written().to_owned(),
        digest: facts.digest,
        platforms: platform_names(facts),
        bytes: largest(facts),
        manifests: manifests.collect(),
    }
}

fn platform_names(facts: &ImageFacts) -> Vec<String> {
    let mut names: Vec<String> = facts.platforms.iter().map(|part| part.platform.to_string()).collect();
    names.dedup();
    names
}

fn largest(facts: &ImageFacts) -> u64 {
    facts.platforms.iter().map(|part| part.bytes).max().unwrap_or(0)
}

fn check(
    check: &str,
    subject: Option<&str>,
    verdict: Verdict,
    message: String,
    evidence: Map<String, Value>,
    context: &Context,
) -> Check {
    Check {
        check: check.to_owned(),
        subject: subject.map(str::to_owned),
        verdict,
        message,
        evidence,
        attempts: context.attempts,
        next_attempt_at: None,
        checked_at: Some(context.now),
    }
}

/// The warnings of a release once its images are known: that nothing tells how a service is, is no longer said where the
/// image for every platform tells it, and said again where one does not any more. `shown` are those that are shown,
/// `written` those of the document alone. Images about which there is no answer change nothing.
pub fn warnings(
    descriptor: &AddonDescriptor,
    facts: &Facts,
    shown: &[Finding],
    written: &[Finding],
) -> Vec<Finding> {
    let service = |warning: &Finding| {
        let rest = warning.path.strip_prefix("/services/")?;
        let (number, _) = rest.split_once("/healthcheck")?;
        descriptor.services.get(number.parse::<usize>().ok()?)
    };
    let is_about_health = |warning: &Finding| warning.rule == rules::NO_HEALTHCHECK;
    let tells = |warning: &Finding| {
        let service = service(warning)?;
        if service.healthcheck.as_ref().is_some_and(|check| check.test != HealthTest::Image) {
            return Some(false);
        }
        let image = facts.images.get(service.image.as_written())?.as_ref().ok()?;
        Some(image.platforms.iter().all(|part| part.image.has_healthcheck()))
    };
    let mut warnings: Vec<Finding> = shown.to_vec();
    warnings.retain(|warning| !is_about_health(warning) || tells(warning) != Some(true));
    for warning in written.iter().filter(|warning| is_about_health(warning)) {
        if tells(warning) == Some(false)
            && !warnings.iter().any(|shown| is_about_health(shown) && shown.path == warning.path)
        {
            // Its place is that in the canonical text, which is not what was sent.
            warnings.push(Finding { line: None, column: None, ..warning.clone() });
        }
    }
    warnings
}

/// Judges an approved release's images again: the images that their registries no longer have. `None` when it could not
/// be found out for all of them, and none is known to be gone.
pub fn missing_images(facts: &Facts) -> Option<BTreeMap<&str, String>> {
    let gone: BTreeMap<&str, String> = facts
        .images
        .iter()
        .filter_map(|(image, answer)| match answer {
            Err(error) if error.is_gone() => Some((image.as_str(), error.to_string())),
            _ => None,
        })
        .collect();
    let unanswered = facts.images.values().any(|answer| answer.as_ref().is_err_and(|error| !error.is_gone()));
    (!gone.is_empty() || !unanswered).then_some(gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verification::registry::config::ImageConfig;
    use addon_descriptor::Digest;

    fn descriptor(text: &str) -> AddonDescriptor {
        let reading = addon_descriptor::read(text.as_bytes()).unwrap();
        reading.descriptor.unwrap_or_else(|| panic!("{:?}", reading.violations))
    }

    fn image(platforms: &[&str]) -> ImageFacts {
        let part = |(n, platform): (usize, &&str)| PlatformFacts {
            platform: platform.parse().unwrap(),
            manifest: Digest::of(platform.as_bytes()),
            config: Digest::of(b"config"),
            bytes: 100 + n as u64,
            layers: 1,
            image: ImageConfig { user: Some("app".to_owned()), ..ImageConfig::default() },
        };
        ImageFacts {
            digest: Digest::of(b"index"),
            platforms: platforms.iter().enumerate().map(part).collect(),
            remarks: Vec::new(),
        }
    }

    fn no_answer() -> RegistryError {
        RegistryError::NoAnswer {
            host: "r".to_owned(),
            reason: "it is in trouble (500)".to_owned(),
            retry_after: None,
        }
    }

    fn not_found() -> RegistryError {
        RegistryError::NotFound { image: "r/a:1".to_owned(), registry: "r".to_owned() }
    }

    fn facts(answers: &[(&str, Result<ImageFacts, RegistryError>)]) -> Facts {
        Facts {
            images: answers.iter().map(|(image, answer)| ((*image).to_owned(), answer.clone())).collect(),
            since: None,
        }
    }

    fn verdict(findings: &Findings, name: &str, subject: Option<&str>) -> Verdict {
        let found =
            findings.checks.iter().find(|check| check.check == name && check.subject.as_deref() == subject);
        found.unwrap_or_else(|| panic!("no check {name} of {subject:?}: {findings:?}")).verdict
    }

    const ONE: &str = r#"{"name": "probe", "requires": {"platforms": ["linux/arm64", "linux/amd64"]},
        "services": [{"service_name": "a", "image": "r.example/a:1"}]}"#;

    #[test]
    fn an_image_that_is_there_is_pinned() {
        let facts = facts(&[("r.example/a:1", Ok(image(&["linux/amd64", "linux/arm64"])))]);
        let findings = judge(&descriptor(ONE), &facts, &Context::default());
        assert_eq!(verdict(&findings, "image-exists", Some("a")), Verdict::Pass);
        assert_eq!(verdict(&findings, "platforms-fit", Some("a")), Verdict::Pass);
        assert_eq!(findings.pins.len(), 1);
        assert_eq!(findings.pins[0].digest, Digest::of(b"index"));
        assert_eq!(findings.pins[0].platforms, ["linux/amd64", "linux/arm64"]);
        assert_eq!(findings.pins[0].bytes, 101);
    }

    #[test]
    fn what_images_say_of_themselves_is_evidence_and_bounded() {
        let architectures: Vec<String> = (0..MAX_SHOWN + 3).map(|n| format!("linux/arm64/v{n}")).collect();
        let names: Vec<&str> = architectures.iter().map(String::as_str).collect();
        let facts = facts(&[("r.example/a:1", Ok(image(&names)))]);
        let findings = judge(&descriptor(ONE), &facts, &Context::default());
        let evidence = &findings.checks.iter().find(|check| check.check == "image-exists").unwrap().evidence;
        let shown = evidence["images"].as_array().unwrap();
        assert_eq!(shown.len(), MAX_SHOWN);
        assert_eq!(
            (&shown[0]["user"], &shown[0]["layers"], &shown[0]["bytes"]),
            (&json!("app"), &json!(1), &json!(100))
        );
        assert_eq!(evidence["images_left_out"], 3);
    }

    #[test]
    fn no_answer_is_neither_pass_nor_fail() {
        for answers in [facts(&[("r.example/a:1", Err(no_answer()))]), Facts::default()] {
            let findings = judge(&descriptor(ONE), &answers, &Context::default());
            assert_eq!(verdict(&findings, "image-exists", Some("a")), Verdict::NoAnswer);
            assert_eq!(verdict(&findings, "platforms-fit", Some("a")), Verdict::NoAnswer);
            assert!(findings.pins.is_empty());
        }
    }

    #[test]
    fn an_image_that_is_not_there_fails() {
        let findings =
            judge(&descriptor(ONE), &facts(&[("r.example/a:1", Err(not_found()))]), &Context::default());
        assert_eq!(verdict(&findings, "image-exists", Some("a")), Verdict::Fail);
        assert_eq!(crate::domain::verification::overall(&findings.checks), Verdict::Fail);
    }

    #[test]
    fn a_required_platform_must_be_there() {
        let only_amd = facts(&[("r.example/a:1", Ok(image(&["linux/amd64"])))]);
        let findings = judge(&descriptor(ONE), &only_amd, &Context::default());
        assert_eq!(verdict(&findings, "platforms-fit", Some("a")), Verdict::Fail);
        let own = r#"{"name": "probe", "requires": {"platforms": ["linux/arm64"]},
            "services": [{"service_name": "a", "image": "r.example/a:1", "platform": "linux/amd64"}]}"#;
        let findings = judge(&descriptor(own), &only_amd, &Context::default());
        assert_eq!(
            verdict(&findings, "platforms-fit", Some("a")),
            Verdict::Pass,
            "the service's own word counts"
        );
    }

    #[test]
    fn names_that_are_reserved_or_read_like_anothers_fail() {
        let reserved = Context { reserved: BTreeSet::from(["probe".to_owned()]), ..Context::default() };
        let findings = judge(&descriptor(ONE), &Facts::default(), &reserved);
        assert_eq!(verdict(&findings, "name-allowed", Some("probe")), Verdict::Fail);
        let reserved = Context { reserved: BTreeSet::from(["pr-obe".to_owned()]), ..Context::default() };
        let findings = judge(&descriptor(ONE), &Facts::default(), &reserved);
        assert_eq!(verdict(&findings, "name-allowed", Some("probe")), Verdict::Fail);
        assert!(findings.checks[0].message.contains("reads like pr-obe, which is reserved"), "{findings:?}");
        let alike = Context { look_alike: Some("pr0be".to_owned()), ..Context::default() };
        let findings = judge(&descriptor(ONE), &Facts::default(), &alike);
        assert_eq!(verdict(&findings, "name-allowed", Some("probe")), Verdict::Fail);
        let near = Context { near: Some("probes".to_owned()), ..Context::default() };
        let findings = judge(&descriptor(ONE), &Facts::default(), &near);
        assert_eq!(verdict(&findings, "name-allowed", Some("probe")), Verdict::Pass);
        assert_eq!(findings.checks[0].evidence["near"], "probes");
    }

    #[test]
    fn an_image_that_tells_how_it_is_takes_the_warning_back() {
        let text = r#"{"name": "probe", "services": [
            {"service_name": "a", "image": "r/a:1"},
            {"service_name": "b", "image": "r/b:1", "healthcheck": {"interval": "5s"}},
            {"service_name": "c", "image": "r/a:1", "healthcheck": {"test": ["NONE"]}}]}"#;
        let reading = addon_descriptor::read(text.as_bytes()).unwrap();
        let written: Vec<Finding> = reading.warnings.iter().map(Finding::from).collect();
        let descriptor = reading.descriptor.unwrap();
        let telling = |platforms: &[&str], silent: Option<usize>| {
            let mut image = image(platforms);
            for (n, part) in image.platforms.iter_mut().enumerate().filter(|(n, _)| Some(*n) != silent) {
                part.image.healthcheck = vec!["CMD".to_owned(), n.to_string()];
            }
            Ok(image)
        };
        let about = |warnings: &[Finding]| -> Vec<String> {
            let health = warnings.iter().filter(|warning| warning.rule == "no-healthcheck");
            health.map(|warning| warning.path[10..11].to_owned()).collect()
        };
        assert_eq!(about(&written), ["0", "1", "2"]);
        let both = ["linux/amd64", "linux/arm64"];
        let after = |a, b, shown: &[Finding]| {
            warnings(&descriptor, &facts(&[("r/a:1", a), ("r/b:1", b)]), shown, &written)
        };
        let all = after(telling(&both, None), telling(&both, None), &written);
        assert_eq!(about(&all), ["2"], "what the document turns off stays off");
        assert_eq!(all.len(), written.len() - 2, "other warnings stay");
        assert_eq!(about(&after(telling(&both, Some(1)), telling(&both, None), &written)), ["0", "2"]);
        assert_eq!(about(&after(Err(no_answer()), telling(&both, None), &all)), ["2"], "nothing is known");
        assert_eq!(about(&after(Err(no_answer()), Err(not_found()), &written)), ["0", "1", "2"]);
        let back = after(telling(&both, Some(0)), telling(&both, None), &all);
        assert_eq!(about(&back), ["2", "0"], "it is said again");
    }

    #[test]
    fn images_that_are_gone_are_told_from_those_not_known() {
        let there = Ok(image(&["linux/amd64"]));
        assert_eq!(missing_images(&facts(&[("a", there.clone())])), Some(BTreeMap::new()));
        assert_eq!(missing_images(&facts(&[("a", there), ("b", Err(no_answer()))])), None);
        let gone = facts(&[("a", Err(no_answer())), ("b", Err(not_found()))]);
        assert_eq!(missing_images(&gone).unwrap().into_keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn what_is_not_shown_to_us_is_not_gone() {
        let (image, registry, reason) = ("r/a:1".to_owned(), "r".to_owned(), "no".to_owned());
        let approved = Context { approved: true, ..Context::default() };
        for (error, gone) in [
            (RegistryError::Refused { image: image.clone(), reason: reason.clone() }, false),
            (RegistryError::Denied { image: image.clone(), registry, reason: reason.clone() }, false),
            (RegistryError::Invalid { image: image.clone(), reason: reason.clone() }, false),
            (RegistryError::Incomplete { image, reason }, true),
            (not_found(), true),
        ] {
            let facts = facts(&[("r.example/a:1", Err(error.clone()))]);
            assert_eq!(missing_images(&facts).is_some(), gone, "{error}");
            let at = |context| verdict(&judge(&descriptor(ONE), &facts, context), "image-exists", Some("a"));
            assert_eq!(at(&approved), if gone { Verdict::Fail } else { Verdict::NoAnswer }, "{error}");
            assert_eq!(at(&Context::default()), Verdict::Fail, "{error}");
        }
    }
}
