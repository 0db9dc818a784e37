use proptest::prelude::*;

use super::*;

fn prefix(body: &str) -> Option<Prefix> {
    Prefix::new(1, &Prompt::of_body(body.as_bytes()))
}

/// A list of messages: the roles take turns after the system's.
fn messages(system: usize, turns: &[&str]) -> String {
    let mut all = vec![format!(r#"{{"role":"system","content":"{}"}}"#, "s".repeat(system))];
    for (index, turn) in turns.iter().enumerate() {
        let role = if index % 2 == 0 { "user" } else { "assistant" };
        all.push(format!(r#"{{"role":"{role}","content":"{turn}"}}"#));
    }
    format!("[{}]", all.join(","))
}

#[test]
fn what_is_shorter_than_a_block_has_no_prefix() {
    assert_eq!(prefix(&"a".repeat(BLOCK - 1)), None);
    assert_eq!(prefix(&"a".repeat(BLOCK)).unwrap().blocks().len(), 1);
}

#[test]
fn a_prefix_is_capped_and_the_rest_goes_where_it_goes() {
    let long = "a".repeat(BLOCK * BLOCKS_MAX);
    let (one, other) = (prefix(&long).unwrap(), prefix(&format!("{long}b")).unwrap());
    assert_eq!((one.blocks().len(), one.blocks()), (BLOCKS_MAX, other.blocks()));
    assert_eq!((one.root(), other.bytes()), (other.root(), long.len() + 1));
    let prompt = Prompt { preamble: [b"t", long.as_bytes(), b""], ..Prompt::of_body(b"[]") };
    assert_eq!(Prefix::new(1, &prompt).unwrap().blocks().len(), BLOCKS_MAX);
}

/// What is looked at ends in the middle of whatever stands there.
#[test]
fn a_conversation_keeps_its_root_where_it_ends_beyond_what_is_looked_at() {
    let turn = |role: &str, text: &str| format!(r#"{{"role":"{role}","content":"{text}"}}"#);
    for beyond in -60..60_isize {
        let system = turn("system", &"s".repeat((BLOCK * BLOCKS_MAX).checked_add_signed(beyond - 80).unwrap()));
        let (first, later) = (format!("{system},{}", turn("user", "a")), turn("assistant", &"b".repeat(900)));
        let (first, later) = (format!("[{first}]"), format!("[{first},{later}]"));
        assert_eq!(prefix(&first).unwrap().root(), prefix(&later).unwrap().root(), "{beyond}");
    }
}

#[test]
fn a_conversation_keeps_its_root_and_its_blocks_as_it_grows() {
    let (hello, story) = ("h".repeat(300), "t".repeat(900));
    let turns = [hello.as_str(), &story, "more, with \\\"role\\\":\\\"user\\\" in it", "yes", "and"];
    let first = prefix(&messages(600, &turns[..1])).unwrap();
    for turn in [3, 5] {
        let later = prefix(&messages(600, &turns[..turn])).unwrap();
        assert_eq!(later.root(), first.root());
        assert_eq!(later.blocks()[..first.blocks().len()], *first.blocks());
    }
    let another = prefix(&messages(600, &["something else"])).unwrap();
    assert_eq!(another.blocks()[..2], first.blocks()[..2]);
    assert_ne!(prefix(&messages(600, &["something else", &story, "x"])).unwrap().root(), first.root());
}

#[test]
fn a_first_turn_that_is_mostly_shared_has_the_home_of_what_is_shared() {
    let shared = |system: usize, turns: &[&str]| prefix(&messages(system, turns)).unwrap().shared_root();
    let root = shared(9_000, &["a"]);
    assert!(root.is_some());
    assert_eq!(shared(9_000, &["b"]), root);
    assert_ne!(shared(9_500, &["a"]), root);
    assert_eq!(shared(9_000, &["a", "b", "c"]), None, "it goes where its first turn belongs");
    assert_eq!(shared(150, &[&"a".repeat(200)]), None, "too little is in common");
}

#[test]
fn what_comes_before_the_messages_comes_before_them() {
    let of = |tools: &str, system: &str| {
        let (preamble, body) = ([tools, system, ""].map(str::as_bytes), messages(600, &["a"]));
        Prefix::new(1, &Prompt { preamble, ..Prompt::of_body(body.as_bytes()) }).unwrap()
    };
    let tools = "t".repeat(BLOCK + 1);
    let (one, other) = (of(&tools, "x"), of(&tools, "y"));
    assert_eq!(one.blocks()[..2], other.blocks()[..2], "the rest of the tools is a block");
    assert_ne!(one.blocks()[2], other.blocks()[2]);
    assert_ne!(one.root(), other.root());
}

#[test]
fn another_seed_is_another_prompt() {
    let body = "a".repeat(BLOCK);
    let of = |seed| Prefix::new(seed, &Prompt::of_body(body.as_bytes())).unwrap();
    assert_ne!((of(1).blocks(), of(1).root()), (of(2).blocks(), of(2).root()));
}

proptest! {
    #[test]
    fn prompts_share_as_many_blocks_as_they_share_bytes(
        shared in "[a-z]{0,1500}", one in "[a-z]{0,600}", other in "[A-Z]{0,600}",
    ) {
        let (one, other) = (format!("\"{shared}{one}"), format!("\"{shared}{other}"));
        let bytes = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        if let (Some(one), Some(other)) = (prefix(&one), prefix(&other)) {
            let same = one.blocks().iter().zip(other.blocks()).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(same, bytes / BLOCK);
        }
    }

    #[test]
    fn any_text_is_hashed_without_panic(body: String, times in 1..40_usize, preamble: [String; 3]) {
        let body = body.repeat(times) + "\"user\" \"role\" {}";
        let preamble = preamble.each_ref().map(String::as_bytes);
        for body in [&body, &format!("[{body}")] {
            let prompt = Prompt { preamble, ..Prompt::of_body(body.as_bytes()) };
            let bytes = body.len() + preamble.iter().map(|part| part.len()).sum::<usize>();
            prop_assert_eq!(Prefix::new(1, &prompt).is_some(), bytes >= BLOCK);
        }
    }
}
