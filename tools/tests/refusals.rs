//! What the command `popstore` refuses, and what it tells of itself.
#![allow(clippy::unwrap_used)]

mod shell;

use std::fs;

use shell::Shell;

#[test]
fn what_cannot_be_done_ends_with_2_and_says_why() {
    let shell = Shell::new();
    shell.ok("append data jobs hello");
    shell.ok("group create data g");
    for (line, why) in [
        ("pop data jobs --group other", "there is no group \"other\""),
        ("pop data other --group g", "there is no topic \"other\""),
        ("pop data jobs --group g -n 0", "1 to 4096"),
        ("pop data jobs --group g --invisible 8d", "1 ms to 7 days"),
        ("pop data jobs --group g --invisible soon", "250ms, 1.5s, 30s"),
        ("pop data jobs --group g --wait 1.2.3s", "250ms, 1.5s, 30s"),
        ("group set data g --backoff never", "FIRST..CAP"),
        ("group set data g", "required arguments"),
        ("group set data g --max-reconsume-times many", "unlimited"),
        ("ack data 1234", "receipt"),
        ("append data .hidden hello", "topic \".hidden\""),
        ("append data jobs hello --whole", "cannot be used with"),
        ("append data jobs --file missing", "could not read \"missing\""),
        ("work data other --group new -- true", "there is no topic \"other\""),
        ("work data jobs --group new -- /no/such/program --flag", "--flag\": there is no such program"),
        ("work data jobs --group new -- no-such-program --flag", "there is no such program"),
        ("work data jobs --group new -- ./no-such-program", "there is no such program"),
        ("work data jobs --group new -- data/store", "it is not executable"),
        ("work data jobs --group new -- data/store --flag", "it is not executable"),
        ("frobnicate data", "unrecognized subcommand"),
    ] {
        let printed = shell.run(line);
        assert_eq!((printed.code, printed.out.as_str()), (2, ""), "{line}: {}", printed.err);
        assert!(printed.err.contains(why), "{line}: {}", printed.err);
    }
    let groups = shell.ok("group list data --json");
    assert_eq!(groups.object()["name"], "g", "a worker that could not begin made its group");
}

/// A receipt of no store that is used here.
fn receipt() -> String {
    let shell = Shell::new();
    shell.ok("append data jobs hello");
    shell.ok("group create data g");
    shell.ok("pop data jobs --group g --json").receipt()
}

#[test]
fn verbs_on_what_is_no_store_say_so_and_make_none() {
    let receipt = receipt();
    let verbs = [
        "pop DIR jobs --group g".to_string(),
        format!("ack DIR {receipt}"),
        format!("nack DIR {receipt}"),
        format!("extend DIR --invisible 1s {receipt}"),
        "work DIR jobs --group g -- true".to_string(),
        "dead-letters list DIR --group g".to_string(),
        "dead-letters redrive DIR --group g".to_string(),
        "topic list DIR".to_string(),
        "group list DIR".to_string(),
        "group set DIR g --ordered".to_string(),
    ];
    let shell = Shell::new();
    fs::create_dir(shell.path("empty")).unwrap();
    fs::create_dir(shell.path("others")).unwrap();
    fs::write(shell.path("others/notes"), "mine").unwrap();
    for verb in &verbs {
        for dir in ["missing", "empty", "others"] {
            let printed = shell.run(&verb.replace("DIR", dir));
            let told = format!("{dir:?} is not a store");
            assert!(printed.code == 2 && printed.err.contains(&told), "{verb} {dir}: {}", printed.err);
        }
    }
    assert!(!shell.path("missing").exists());
    assert_eq!(fs::read_dir(shell.path("empty")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(shell.path("others")).unwrap().count(), 1);
}

#[test]
fn verbs_make_a_store_only_where_nothing_is() {
    let shell = Shell::new();
    fs::create_dir(shell.path("others")).unwrap();
    fs::write(shell.path("others/notes"), "mine").unwrap();
    for (verb, name) in [("append DIR jobs hello", "a"), ("group create DIR g", "b"), ("topic create DIR jobs", "c")] {
        shell.ok(&verb.replace("DIR", name));
        assert!(shell.path(name).join("store").exists(), "{verb}");
        let refused = shell.run(&verb.replace("DIR", "others"));
        assert!(refused.code == 2 && refused.err.contains("notes"), "{verb}: {}", refused.err);
    }
    assert_eq!(fs::read_dir(shell.path("others")).unwrap().count(), 1);
    assert_eq!(shell.run("append d jobs --file missing").code, 2);
    assert!(!shell.path("d").exists(), "a misspelt file made a store");
}

#[test]
fn arguments_that_are_refused_make_no_store() {
    let (shell, long) = (Shell::new(), "k".repeat(1025));
    for (line, why) in [
        ("append new .hidden hello".to_string(), "topic \".hidden\""),
        (format!("append new jobs hello --key {long}"), "a key of 1025 bytes"),
        (format!("append new jobs --tag {long}"), "a tag of 1025 bytes"),
        ("topic create new .hidden".to_string(), "topic \".hidden\""),
        ("topic create new jobs --queues 0".to_string(), "1..=1024"),
        ("topic create new jobs --queues 1025".to_string(), "1..=1024"),
        ("group create new .hidden".to_string(), "group \".hidden\""),
        ("group create new g --invisible 8d".to_string(), "1 ms to 7 days"),
    ] {
        let printed = shell.run(&line);
        assert_eq!((printed.code, printed.out.as_str()), (2, ""), "{line}: {}", printed.err);
        assert!(printed.err.contains(why), "{line}: {}", printed.err);
        assert!(!shell.path("new").exists(), "{line} made a store");
    }
}

#[test]
fn json_is_accepted_before_the_verb_and_after_it() {
    let shell = Shell::new();
    shell.ok("append data jobs hello");
    let after = shell.ok("topic list data --json").out;
    assert!(after.starts_with('{'), "{after}");
    for line in ["--json topic list data", "topic --json list data"] {
        assert_eq!(shell.ok(line).out, after, "{line}");
    }
    let inspected = shell.feed(shell.inspect("--json verify data"), b"");
    assert!(inspected.code == 0 && inspected.out.starts_with('{'), "{}{}", inspected.out, inspected.err);
}

#[test]
fn help_names_the_signals_and_no_other_command() {
    let shell = Shell::new();
    for verb in ["append", "pop", "work"] {
        let help = shell.ok(&format!("{verb} --help")).out;
        assert!(["SIGINT", "SIGTERM", "SIGHUP"].iter().all(|signal| help.contains(signal)), "{help}");
    }
    for page in ["completions", "man"] {
        let help = shell.feed(shell.inspect(&format!("{page} --help")), b"").out;
        assert!(!help.contains("popstore "), "{help}");
    }
}

#[test]
fn a_path_that_is_no_directory_or_cannot_be_read_is_named() {
    let shell = Shell::new();
    fs::write(shell.path("file"), "").unwrap();
    for verb in ["append DIR jobs hello", "pop DIR jobs --group g", "topic list DIR", "group create DIR g"] {
        let printed = shell.run(&verb.replace("DIR", "file"));
        assert!(printed.code == 2 && printed.err.contains("\"file\" is not a directory"), "{verb}: {}", printed.err);
        let printed = shell.run(&verb.replace("DIR", "file/below"));
        assert!(
            printed.code == 2 && printed.err.contains("could not read \"file/below\": "),
            "{verb}: {}",
            printed.err
        );
    }
}

#[test]
fn a_store_that_is_open_elsewhere_is_refused() {
    let shell = Shell::new();
    let store = popstore::Store::open(shell.path("data")).unwrap();
    let printed = shell.run("append data jobs hello");
    assert_eq!(printed.code, 2);
    assert!(printed.err.contains("open elsewhere"), "{}", printed.err);
    store.close().unwrap();
    shell.ok("append data jobs hello");
}

#[test]
fn completions_are_made_for_every_shell() {
    let shell = Shell::new();
    for (name, mark) in
        [("bash", "complete -F _popstore"), ("zsh", "#compdef popstore"), ("fish", "complete -c popstore")]
    {
        let printed = shell.ok(&format!("completions {name}"));
        for word in [mark, "dead-letters", "until-empty"] {
            assert!(printed.out.contains(word), "{name} {word}");
        }
    }
    assert_eq!(shell.run("completions tcsh").code, 2);
}

#[test]
fn the_manual_page_describes_every_verb() {
    let page = Shell::new().ok("man").out;
    assert!(page.contains(".TH popstore 1") && page.contains(".SH NAME"), "{page}");
    for verb in ["APPEND", "POP", "WORK", "DEAD-LETTERS REDRIVE", "TOPIC CREATE", "GROUP SET", "COMPLETIONS"] {
        assert!(page.contains(&format!(".SH \"POPSTORE {verb}\"")), "{verb}");
    }
    assert!(page.contains("SIGTERM") && page.contains(r"\-\-until\-empty"), "{page}");
    let help = Shell::new().ok("work --help").out;
    assert!(help.contains("Example") && help.contains("popstore work data"), "{help}");
}
