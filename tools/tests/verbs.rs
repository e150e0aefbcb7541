//! Messages through the command `popstore`: appended, popped, acked, given back, extended.
#![allow(clippy::unwrap_used)]

mod shell;

use std::time::Duration;

use shell::{Printed, Shell};

#[test]
fn what_is_appended_is_popped_once_and_acked_once() {
    let shell = Shell::new();
    assert_eq!(shell.ok("append data jobs hello --key k --tag t").out, "appended 1 message to jobs\n");
    shell.ok("group create data g --invisible 1h");
    let popped = shell.ok("pop data jobs --group g --json");
    let message = popped.object();
    assert_eq!(message["body"], "hello");
    assert_eq!((&message["key"], &message["tag"]), (&"k".into(), &"t".into()));
    assert_eq!((&message["queue"], &message["index"], &message["attempt"]), (&0.into(), &0.into(), &1.into()));
    assert_eq!(shell.ok("pop data jobs --group g --json").out, "");
    assert_eq!(shell.ok("pop data jobs --group g").out, "no message available\n");

    let ack = format!("ack data {} --json", popped.receipt());
    assert_eq!(shell.ok(&ack).object()["settled"], "done");
    let again = shell.run(&ack);
    assert_eq!((again.code, &again.object()["settled"]), (1, &"already_settled".into()));
}

#[test]
fn a_line_ends_with_lf_or_crlf_and_has_no_part_of_it() {
    let shell = Shell::new();
    shell.append_lines(b"one\r\ntwo\nth\rree\r\r\n\r\nlast\r");
    shell.ok("group create data g");
    let bodies: Vec<String> = shell.ready().into_iter().map(|(body, _)| body).collect();
    assert_eq!(bodies, ["one", "two", "th\rree\r", "", "last"]);
    let whole = shell.feed(shell.command("append data jobs --whole"), b"all\r\n");
    assert_eq!(whole.code, 0, "{}", whole.err);
    assert_eq!(shell.ready(), [("all\r\n".to_string(), 1)]);
}

#[test]
fn a_damaged_message_is_told_by_its_place_and_given_up_there() {
    let shell = Shell::new();
    shell.append_lines(b"one\ntwo\nthree\n");
    shell.ok("group create data g --invisible 1h");
    let segment = shell.path("data/commit/00000000000000000000");
    let mut bytes = std::fs::read(&segment).unwrap();
    let two = bytes.windows(3).position(|body| body == b"two").unwrap();
    bytes[two] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(shell.ready(), [("one".into(), 1)]);
    let refused = shell.run("pop data jobs --group g");
    assert!(refused.code == 2 && refused.err.contains("jobs/0/1"), "{}", refused.err);
    let kept = shell.run("skip data jobs/0/0 --group g");
    assert!(kept.code == 1 && kept.out.contains("nothing is given up"), "{}", kept.out);
    assert_eq!(shell.ok("skip data jobs/0/1 --group g").out, "g has given up jobs/0/1\n");
    assert_eq!(shell.ready(), [("three".into(), 1)]);
    assert_eq!(shell.run("skip data jobs/0/1 --group g --json").out, "{\"skipped\":false}\n");
}

#[test]
fn the_table_for_people_shows_receipt_place_attempt_and_body() {
    let shell = Shell::new();
    shell.append_lines(b"one\ntwo\n");
    shell.ok("group create data g --invisible 1h");
    let table = shell.ok("pop data jobs --group g -n 5").out;
    for shown in ["receipt", "jobs/0/0", "jobs/0/1", "attempt", "one", "two"] {
        assert!(table.contains(shown), "{shown}: {table}");
    }
}

#[test]
fn lines_are_messages_whatever_their_bytes_are() {
    let shell = Shell::new();
    shell.append_lines(b"plain\n\n\xff\xfe\nno end");
    shell.ok("group create data g --invisible 1h");
    let popped = shell.ok("pop data jobs --group g -n 10 --json").objects();
    assert_eq!(popped.len(), 4);
    assert_eq!((&popped[0]["body"], &popped[1]["body"]), (&"plain".into(), &"".into()));
    assert_eq!((&popped[2]["body_hex"], &popped[3]["body"]), (&"fffe".into(), &"no end".into()));
}

#[test]
fn lines_are_appended_in_batches_and_told_one_by_one() {
    let shell = Shell::new();
    let appended = shell.feed(shell.command("append data jobs --batch 2 --key k --tag t --json"), b"a\nb\nc\n");
    let places: Vec<_> = appended.objects().iter().map(|place| place["index"].as_u64().unwrap()).collect();
    assert_eq!(places, [0, 1, 2]);
    shell.ok("group create data g --invisible 1h");
    let popped = shell.ok("pop data jobs --group g -n 10 --json").objects();
    assert!(popped.iter().all(|message| message["key"] == "k" && message["tag"] == "t"));
}

#[test]
fn the_whole_input_is_one_message_only_when_asked() {
    let shell = Shell::new();
    std::fs::write(shell.path("file"), "a\nb\n").unwrap();
    shell.ok("append data jobs --whole --file file");
    shell.ok("append data jobs --file file");
    shell.ok("group create data g --invisible 1h");
    let bodies: Vec<_> = shell.ready().into_iter().map(|(body, _)| body).collect();
    assert_eq!(bodies, ["a\nb\n", "a", "b"]);
}

#[test]
fn an_empty_input_makes_the_topic_all_the_same() {
    let shell = Shell::new();
    assert_eq!(shell.ok("append data jobs").out, "appended 0 messages to jobs\n");
    shell.ok("group create data g --invisible 1h");
    assert_eq!(shell.ready(), []);
}

#[test]
fn a_nacked_message_comes_back_with_the_next_attempt() {
    let shell = Shell::new();
    shell.ok("append data jobs hello");
    shell.ok("group create data g --invisible 1h");
    let first = shell.ok("pop data jobs --group g --json").receipt();
    shell.ok(&format!("nack data {first}"));
    let second = shell.ok("pop data jobs --group g --json");
    assert_eq!(second.object()["attempt"], 2);
    let late = shell.run(&format!("ack data {first} --json"));
    assert_eq!((late.code, &late.object()["settled"]), (1, &"handed_out_again".into()));
    shell.ok(&format!("nack data --after 1.5h {}", second.receipt()));
    assert_eq!(shell.ready(), []);
}

#[test]
fn a_released_message_comes_back_at_the_same_attempt() {
    let shell = Shell::new();
    shell.ok("append data jobs hello");
    shell.ok("group create data g --invisible 1h --max-reconsume-times 0");
    let first = shell.ok("pop data jobs --group g --json").receipt();
    let released = shell.ok(&format!("release data {first} --json"));
    assert_eq!(released.object()["settled"], "done");
    let second = shell.ok("pop data jobs --group g --json");
    assert_eq!(second.object()["attempt"], 1);
    assert_eq!(shell.run(&format!("release data {first}")).code, 1, "it is stale");
    shell.ok(&format!("release data --after 1h {}", second.receipt()));
    assert_eq!(shell.ready(), []);
}

#[test]
fn receipts_can_come_from_the_standard_input() {
    let shell = Shell::new();
    for body in ["a", "b", "c"] {
        shell.ok(&format!("append data jobs {body}"));
    }
    shell.ok("group create data g --invisible 1h");
    let popped = shell.ok("pop data jobs --group g -n 3 --json");
    let receipts: Vec<String> = popped.objects().iter().map(|one| one["receipt"].as_str().unwrap().into()).collect();
    let acked = shell.feed(shell.command("ack data - --json"), receipts.join(" and what it was\n").as_bytes());
    assert_eq!((acked.code, acked.objects().len()), (0, 3), "{}", acked.out);
    assert!(acked.objects().iter().all(|one| one["settled"] == "done"), "{}", acked.out);
    assert_eq!(shell.feed(shell.command("ack data -"), b"no receipt\n").code, 2);
}

#[test]
fn an_extended_lease_ends_later_and_a_shortened_one_earlier() {
    let shell = Shell::new();
    shell.ok("append data jobs hello");
    shell.ok("group create data g --invisible 1h");
    let receipt = shell.ok("pop data jobs --group g --invisible 10m --json").receipt();
    let ends_at = || {
        let lease = Printed::from(shell.inspect("leases data --json").spawn().unwrap()).object();
        humantime::parse_rfc3339(lease["due_at"].as_str().unwrap()).unwrap()
    };
    let before = ends_at();
    assert_eq!(shell.ok(&format!("extend data --invisible 1h {receipt} --json")).object()["settled"], "done");
    assert!(ends_at().duration_since(before).unwrap() >= Duration::from_secs(50 * 60));
    assert_eq!(shell.ready(), []);
    shell.ok(&format!("extend data --invisible 1ms {receipt}"));
    assert_eq!(shell.ok("pop data jobs --group g --wait 5m --json").object()["attempt"], 2);
}

#[test]
fn receipts_of_several_groups_are_reported_in_the_order_given() {
    let shell = Shell::new();
    shell.append_lines(b"one\ntwo\n");
    let mut receipts = Vec::new();
    for group in ["g", "a"] {
        shell.ok(&format!("group create data {group} --invisible 1h"));
        let popped = shell.ok(&format!("pop data jobs --group {group} -n 2 --json")).objects();
        receipts.extend(popped.iter().map(|it| it["receipt"].as_str().unwrap().to_string()));
    }
    let [g1, g2, a1, a2] = receipts.try_into().unwrap();
    shell.ok(&format!("ack data {g1}"));

    let given = [&a1, &g1, &g2];
    let acked = shell.run(&format!("ack data {a1} {g1} {g2} --json"));
    let told: Vec<_> = acked.objects().iter().map(|it| (it["receipt"].clone(), it["settled"].clone())).collect();
    let outcomes = ["done", "already_settled", "done"];
    assert_eq!(
        told,
        given.iter().zip(outcomes).map(|(one, how)| (one.as_str().into(), how.into())).collect::<Vec<_>>()
    );
    assert_eq!(acked.code, 1);

    let extended = shell.run(&format!("extend data --invisible 1m {a2} {g2} --json")).objects();
    assert_eq!((&extended[0]["settled"], &extended[1]["settled"]), (&"done".into(), &"already_settled".into()));
    assert_eq!(shell.run(&format!("nack data {g1} {a2}")).code, 1);
    assert_eq!(shell.ok("pop data jobs --group a --json").object()["attempt"], 2);
}

#[test]
fn a_receipt_of_another_store_is_refused_before_any_settlement() {
    let shell = Shell::new();
    for store in ["data", "other"] {
        shell.ok(&format!("append {store} jobs hello"));
        shell.ok(&format!("group create {store} g --invisible 1h"));
    }
    let ours = shell.ok("pop data jobs --group g --json").receipt();
    let theirs = shell.ok("pop other jobs --group g --json").receipt();
    let refused = shell.run(&format!("ack data {ours} {theirs}"));
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("from this store"), "{}", refused.err);
    assert_eq!(shell.ok(&format!("ack data {ours} --json")).object()["settled"], "done");
}
