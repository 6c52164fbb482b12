//! What is found of what is listed, in which order, and how it is counted.

use addon_client::Pin;
use addon_descriptor::Digest;
use serde_json::{Value, json};

use super::*;
use crate::domain::search::{Cursor, Facet, Sort, Words};
use crate::storage::Search;

/// Publishes a document and approves it with images of these platforms, at a second.
async fn add(storage: &Storage, document: Value, images: &[&[&str]], second: i64) -> Release {
    let mut document = document;
    document["services"] = json!([{"service_name": "a", "image": "registry.example/a:1"}]);
    let reading = addon_descriptor::read(&serde_json::to_vec(&document).unwrap()).unwrap();
    let descriptor = reading.descriptor.unwrap_or_else(|| panic!("{:?}", reading.violations));
    let skeleton = name::skeleton(&descriptor.name.folded());
    let id = ReleaseId::new(at(second).seconds(), service_kit::random::bytes());
    let new = NewRelease::new(id, descriptor, skeleton, Vec::new(), by("paul"), at(second));
    let Published::New(release) = storage.publish(new).await.unwrap() else { panic!("no new release") };
    let job = storage.claim("worker", at(second), LEASE, None).await.unwrap().expect("a job is due");
    let digest = Digest::of(b"x");
    let pins = images.iter().enumerate().map(|(number, platforms)| Pin {
        service_name: number.to_string(),
        image: "registry.example/a:1".to_owned(),
        digest,
        platforms: platforms.iter().map(|platform| (*platform).to_owned()).collect(),
        manifests: Vec::new(),
        bytes: 1,
    });
    let verdicted = Verdicted { pins: pins.collect(), ..verdicted(Status::Approved) };
    assert!(storage.record_verdict(&job, &verdicted, at(second)).await.unwrap());
    release
}

async fn simple(storage: &Storage, name: &str, description: &str, second: i64) -> Release {
    add(storage, json!({"name": name, "description": description}), &[], second).await
}

async fn found(storage: &Storage, text: &str, facets: &[(Facet, &str)], sort: Sort) -> Vec<String> {
    let facets: Vec<(Facet, String)> =
        facets.iter().map(|(facet, value)| (*facet, (*value).to_owned())).collect();
    let words = Words::of(text);
    let search = Search { words: &words, facets: &facets, addon: None };
    let found = storage.search(&search, sort, None, 100).await.unwrap();
    assert_eq!(found.next, None);
    found.releases.into_iter().map(|release| release.addon).collect()
}

async fn by_words(storage: &Storage, text: &str) -> Vec<String> {
    found(storage, text, &[], Sort::Name).await
}

pub(super) async fn every_word_has_to_be_there_and_the_last_may_be_a_beginning(storage: &Storage) {
    simple(storage, "mqtt-broker", "Takes messages of sensors", 0).await;
    simple(storage, "camera", "Shows Messages, and a mañana's Übersicht", 1).await;
    for (text, expected) in [
        ("messages", &["camera", "mqtt-broker"][..]),
        ("mess", &["camera", "mqtt-broker"]),
        ("MESSAGES", &["camera", "mqtt-broker"]),
        ("messages sen", &["mqtt-broker"]),
        ("sen messages", &[]),
        ("mqtt-bro", &["mqtt-broker"]),
        ("broker mqtt", &["mqtt-broker"]),
        ("paul", &["camera", "mqtt-broker"]),
        ("mañ", &["camera"]),
        ("manana", &[]),
        ("übersicht", &["camera"]),
        ("m", &[]),
        ("s", &["camera"]),
        ("essages", &[]),
        ("mqtt camera", &[]),
    ] {
        assert_eq!(by_words(storage, text).await, expected, "{text}");
    }
}

pub(super) async fn names_are_found_before_descriptions(storage: &Storage) {
    simple(storage, "described", "An mqtt thing", 0).await;
    let keyword = json!({"name": "keyworded", "keywords": ["mqtt"]});
    add(storage, keyword, &[], 1).await;
    simple(storage, "fast-mqtt", "x", 2).await;
    simple(storage, "mqtt-broker", "x", 3).await;
    simple(storage, "mqtt", "x", 4).await;
    simple(storage, "described-later", "An mqtt thing", 5).await;
    let expected = ["mqtt", "mqtt-broker", "fast-mqtt", "keyworded", "described-later", "described"];
    assert_eq!(found(storage, "mqtt", &[], Sort::Relevance).await, expected);
    assert_eq!(found(storage, "mqt", &[], Sort::Relevance).await.len(), 6);

    // In parts it is the same.
    let (words, mut names, mut after) = (Words::of("mqtt"), Vec::new(), None);
    loop {
        let search = Search { words: &words, facets: &[], addon: None };
        let part = storage.search(&search, Sort::Relevance, after.as_ref(), 2).await.unwrap();
        names.extend(part.releases.into_iter().map(|release| release.addon));
        match part.next {
            Some(next) => after = Sort::Relevance.cursor(&next.to_string()),
            None => break,
        }
    }
    assert_eq!(names, expected);
    // Without words: what was approved last.
    assert_eq!(found(storage, "", &[], Sort::Relevance).await[0], "described-later");
}

pub(super) async fn only_what_is_listed_is_found(storage: &Storage) {
    publish(storage, "waiting", "mqtt", None).await;
    verify(storage, Status::UnderReview, 0).await;
    let older =
        add(storage, json!({"name": "probe", "version": "1.0.0", "description": "old words"}), &[], 1).await;
    let newer =
        add(storage, json!({"name": "probe", "version": "2.0.0", "description": "new words"}), &[], 2).await;
    assert_eq!(by_words(storage, "new words").await, ["probe"]);
    assert!(by_words(storage, "old").await.is_empty() && by_words(storage, "mqtt").await.is_empty());

    let yank = Decision {
        from: Status::Approved,
        to: Status::Yanked,
        action: Action::Yank,
        reason: None,
        by: &by("paul"),
        over_owners: false,
        now: at(3),
    };
    assert!(storage.decide(&storage.release(newer.id).await.unwrap().unwrap(), yank).await.unwrap());
    assert_eq!(by_words(storage, "old words").await, ["probe"]);
    assert!(by_words(storage, "new").await.is_empty());
    let older = storage.release(older.id).await.unwrap().unwrap();
    assert!(storage.delete(&older, &by("paul"), None, at(4)).await.unwrap());
    assert!(by_words(storage, "words").await.is_empty());
    assert_eq!(
        storage.facets(&Search { words: &Words::default(), facets: &[], addon: None }).await.unwrap().counted,
        0
    );
}

pub(super) async fn filters_are_exact_and_go_together(storage: &Storage) {
    let document = |name: &str, category: &str, keywords: &[&str]| json!({"name": name, "categories": [category], "keywords": keywords});
    add(storage, document("a", "Edge", &["mqtt", "fast broker"]), &[&["linux/amd64"]], 0).await;
    add(storage, document("b", "edge", &["mqtt"]), &[&["linux/amd64", "linux/arm64"]], 1).await;
    add(storage, document("c", "edge-cases", &["camera"]), &[&["linux/arm64"]], 2).await;
    for (text, facets, expected) in [
        ("", &[(Facet::Category, "edge")][..], &["a", "b"][..]),
        ("", &[(Facet::Category, "edg")], &[]),
        ("", &[(Facet::Category, "edge-cases")], &["c"]),
        ("", &[(Facet::Keyword, "fast broker")], &["a"]),
        ("", &[(Facet::Keyword, "broker")], &[]),
        ("", &[(Facet::Platform, "linux/arm64")], &["b", "c"]),
        ("mqtt", &[(Facet::Platform, "linux/arm64")], &["b"]),
        (
            "",
            &[(Facet::Category, "edge"), (Facet::Keyword, "mqtt"), (Facet::Platform, "linux/amd64")],
            &["a", "b"],
        ),
        ("", &[(Facet::Category, "edge"), (Facet::Keyword, "camera")], &[]),
        ("", &[(Facet::Risk, "1")], &["a", "b", "c"]),
        ("", &[(Facet::Risk, "6")], &[]),
    ] {
        assert_eq!(found(storage, text, facets, Sort::Name).await, expected, "{text} {facets:?}");
    }
    let search = Search {
        words: &Words::default(),
        facets: &[(Facet::Category, "edge".to_owned())],
        addon: Some("b"),
    };
    for sort in Sort::ALL {
        let found = storage.search(&search, sort, None, 10).await.unwrap().releases;
        assert_eq!(found.iter().map(|release| &*release.addon).collect::<Vec<_>>(), ["b"], "{sort:?}");
    }
}

pub(super) async fn platforms_are_those_of_every_image(storage: &Storage) {
    let images: &[&[&str]] =
        &[&["linux/amd64", "linux/arm64"], &["linux/amd64", "linux/arm64", "linux/s390x"]];
    add(storage, json!({"name": "both"}), images, 0).await;
    let only = json!({"name": "only-arm", "requires": {"platforms": ["linux/arm64", "linux/s390x"]}});
    add(storage, only, images, 1).await;
    for (platform, expected) in
        [("linux/amd64", &["both"][..]), ("linux/arm64", &["both", "only-arm"]), ("linux/s390x", &[])]
    {
        assert_eq!(
            found(storage, "", &[(Facet::Platform, platform)], Sort::Name).await,
            expected,
            "{platform}"
        );
    }
}

pub(super) async fn orders_are_what_they_say(storage: &Storage) {
    for (second, name) in ["b", "c", "a"].into_iter().enumerate() {
        simple(storage, name, "x", i64::try_from(second).unwrap()).await;
    }
    // A new release of the first: published and approved last.
    add(storage, json!({"name": "b", "version": "9.0.0", "description": "x"}), &[], 9).await;
    for (sort, expected) in [
        (Sort::Oldest, ["c", "a", "b"]),
        (Sort::Newest, ["b", "a", "c"]),
        (Sort::Updated, ["b", "a", "c"]),
        (Sort::Name, ["a", "b", "c"]),
        (Sort::Relevance, ["b", "a", "c"]),
        (Sort::Installs, ["b", "a", "c"]),
    ] {
        for text in ["", "x"] {
            assert_eq!(found(storage, text, &[], sort).await, expected, "{sort:?} {text:?}");
        }
    }
}

pub(super) async fn a_cursor_holds_while_listings_come_and_go(storage: &Storage) {
    let mut releases = Vec::new();
    for (second, name) in ["b", "d", "f", "h"].into_iter().enumerate() {
        releases.push(simple(storage, name, "word", i64::try_from(second).unwrap()).await);
    }
    let words = Words::of("word");
    let search = Search { words: &words, facets: &[], addon: None };
    let mut parts = Vec::new();
    for sort in Sort::ALL {
        let part = storage.search(&search, sort, None, 2).await.unwrap();
        let names: Vec<String> = part.releases.into_iter().map(|release| release.addon).collect();
        parts.push((sort, names, part.next.expect("there is more")));
    }
    // The entries that every first part ended at go, others come.
    for at_end in [1, 2] {
        let release = storage.release(releases[at_end].id).await.unwrap().unwrap();
        assert!(storage.delete(&release, &by("paul"), None, at(20)).await.unwrap());
    }
    simple(storage, "a", "word", 30).await;
    simple(storage, "z", "word", 31).await;
    for (sort, first, next) in parts {
        let cursor = sort.cursor(&next.to_string()).unwrap();
        let part = storage.search(&search, sort, Some(&cursor), 10).await.unwrap();
        let names: Vec<String> = part.releases.into_iter().map(|release| release.addon).collect();
        let expected: &[&str] = match sort {
            Sort::Oldest => &["h", "a", "z"],
            Sort::Name => &["h", "z"],
            Sort::Newest | Sort::Updated | Sort::Relevance | Sort::Installs => &["b"],
        };
        assert_eq!(names, expected, "{sort:?} after {first:?}");
    }
}

pub(super) async fn parts_are_what_the_whole_is(storage: &Storage) {
    for second in 0..30 {
        // Words that all, half and few have: each is found in another way.
        let half = if second % 2 == 0 { "even" } else { "odd" };
        let few = if second % 9 == 0 { "rare" } else { "" };
        let name = format!("{}-{half}", char::from(b'a' + u8::try_from(second * 7 % 26).unwrap()));
        simple(storage, &format!("{name}-{second}"), &format!("every {few}"), second).await;
    }
    for text in ["every", "eve", "even", "odd every", "rare", "rare odd", "none"] {
        let words = Words::of(text);
        let search = Search { words: &words, facets: &[], addon: None };
        for sort in Sort::ALL {
            let names = async |limit, after: Option<&Cursor>| {
                let found = storage.search(&search, sort, after, limit).await.unwrap();
                let names: Vec<String> = found.releases.into_iter().map(|release| release.addon).collect();
                (names, found.next)
            };
            let (whole, end) = names(100, None).await;
            assert_eq!(end, None);
            let (mut parts, mut after) = (Vec::new(), None);
            loop {
                let (part, next) = names(4, after.as_ref()).await;
                parts.extend(part);
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(parts, whole, "{text:?} {sort:?}");
        }
    }
}

pub(super) async fn versions_of_what_is_found(storage: &Storage) {
    for (second, version) in ["1.0.0", "1.1.0", "2.0.0"].into_iter().enumerate() {
        let document = json!({"name": "probe", "version": version, "keywords": ["mqtt"]});
        add(storage, document, &[], i64::try_from(second).unwrap()).await;
    }
    simple(storage, "other", "x", 5).await;
    let words = Words::of("mqtt");
    let search = Search { words: &words, facets: &[], addon: None };
    let versions = async |backwards, after, limit| {
        let found = storage.search_versions(&search, backwards, after, limit).await.unwrap();
        let versions: Vec<String> =
            found.releases.iter().map(|release| release.version.to_string()).collect();
        (versions, found.next)
    };
    assert_eq!(versions(false, None, 10).await, (vec!["1.0.0".into(), "1.1.0".into(), "2.0.0".into()], None));
    let (first, next) = versions(true, None, 2).await;
    assert_eq!(first, ["2.0.0", "1.1.0"]);
    let Some(Cursor::Seq(after)) = next else { panic!("{next:?}") };
    assert_eq!(versions(true, Some(after), 2).await, (vec!["1.0.0".to_owned()], None));
    let none = Words::default();
    let every = Search { words: &none, facets: &[], addon: None };
    assert_eq!(storage.search_versions(&every, false, None, 10).await.unwrap().releases.len(), 4);
    let of_other = Search { addon: Some("other"), ..every };
    assert_eq!(storage.search_versions(&of_other, true, None, 10).await.unwrap().releases.len(), 1);
}

pub(super) async fn facets_are_counted_for_the_same_filters(storage: &Storage) {
    for (name, category, keywords) in
        [("a", "edge", &["mqtt", "fast"][..]), ("b", "edge", &["mqtt"]), ("c", "media", &["camera"])]
    {
        add(
            storage,
            json!({"name": name, "categories": [category], "keywords": keywords}),
            &[&["linux/amd64"]],
            0,
        )
        .await;
    }
    let counts = async |text: &str, facets: &[(Facet, String)]| {
        let words = Words::of(text);
        let found = storage.facets(&Search { words: &words, facets, addon: None }).await.unwrap();
        assert!(found.complete);
        let shown = |(facet, counts): &(Facet, Vec<addon_client::FacetCount>)| {
            let counts: Vec<String> =
                counts.iter().map(|count| format!("{} {}", count.value, count.count)).collect();
            format!("{}: {}", facet.as_str(), counts.join(", "))
        };
        (found.counted, found.counts.iter().map(shown).collect::<Vec<_>>())
    };
    let (counted, all) = counts("", &[]).await;
    assert_eq!(counted, 3);
    let expected = [
        "category: edge 2, media 1",
        "keyword: mqtt 2, camera 1, fast 1",
        "platform: linux/amd64 3",
        "risk: 1 3",
    ];
    assert_eq!(all, expected);
    let (counted, edge) = counts("", &[(Facet::Category, "edge".to_owned())]).await;
    assert_eq!((counted, &*edge[1]), (2, "keyword: mqtt 2, fast 1"));
    let (counted, of_words) = counts("cam", &[]).await;
    assert_eq!((counted, &*of_words[0]), (1, "category: media 1"));
    assert_eq!(counts("nothing", &[]).await.0, 0);
}

pub(super) async fn texts_that_mean_something_to_a_database_are_texts(storage: &Storage) {
    let term = Facet::Risk.term("6");
    let document = json!({
        "name": "probe", "description": format!("it's \"quoted\" & (odd) AND NOT:* {term} \\u0000 1e5 v1.2.3 a_b"),
        "keywords": ["c'at\"s", "ÄÖ/ü", "1:*"],
    });
    add(storage, document, &[], 0).await;
    for text in [
        "it's \"quoted\"",
        "' & odd:*",
        "NOT near AND",
        "\"",
        "*",
        "1e5",
        "1 2 3",
        "a b",
        "\u{0}odd",
        "ÄÖ",
        "äö ü",
        "u0000",
    ] {
        // None of these is an error; words are found.
        let names = by_words(storage, text).await;
        let there = Words::of(text).as_slice().iter().all(|word| *word != "near");
        assert_eq!(names.is_empty(), !there, "{text:?}");
    }
    for keyword in ["c'at\"s", "1:*"] {
        assert_eq!(
            found(storage, "", &[(Facet::Keyword, keyword)], Sort::Oldest).await,
            ["probe"],
            "{keyword}"
        );
    }
    // A text cannot pretend to be another grade.
    assert!(found(storage, "", &[(Facet::Risk, "6")], Sort::Oldest).await.is_empty());
}
