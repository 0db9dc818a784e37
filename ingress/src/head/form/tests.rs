use proptest::{collection::vec, prelude::*};

use super::*;

const TYPE: &[u8] = b"multipart/form-data; boundary=xYz";

fn found(body: &str) -> Result<(Option<&str>, Option<&str>), FormError> {
    let spans = spans(TYPE, body.as_bytes())?;
    Ok((spans.model.map(|span| &body[span]), spans.stream.map(|span| &body[span])))
}

fn part(head: &str, content: &str) -> String {
    format!("--xYz\r\n{head}\r\n\r\n{content}\r\n")
}

fn named(name: &str, content: &str) -> String {
    part(&format!("Content-Disposition: form-data; name=\"{name}\""), content)
}

#[test]
fn fields_are_found_among_files_whatever_these_hold() {
    let file =
        "Content-Disposition: form-data; name=\"file\"; filename=\"a\\\"; name=model\"\r\nContent-Type: audio/wav";
    let content = "RIFF\r\n--xY\r\nname=\"model\"\r\n\r\nno\r\n--\r\n\0";
    let body =
        ["ignored\r\n", &part(file, content), &named("stream", "True"), &named("model", "whisper"), "--xYz--\r\nrest"];
    assert_eq!(found(&body.concat()), Ok((Some("whisper"), Some("True"))));
    let unquoted = part("content-disposition: FORM-DATA ;NAME = model ; x=1", "a b") + "--xYz--";
    assert_eq!(found(&unquoted), Ok((Some("a b"), None)));
    assert_eq!(found("--xYz--"), Ok((None, None)));
    assert_eq!(found(&(named("model", "") + "--xYz--")), Ok((Some(""), None)));
    assert_eq!(found("--xYz \t\r\n\r\n no head\r\n--xYz--"), Ok((None, None)));
}

#[test]
fn a_field_given_twice_is_an_error_only_where_it_decides() {
    let twice = |name: &str| found(&(named(name, "a") + &named(name, "a") + "--xYz--")).err();
    assert_eq!(twice("model"), Some(FormError::Twice("model")));
    assert_eq!(twice("timestamp_granularities[]"), None);
    let as_file = part("Content-Disposition: form-data; name=model; filename=x", "b");
    assert_eq!(found(&(named("model", "a") + &as_file + "--xYz--")), Err(FormError::Twice("model")));
}

#[test]
fn what_is_no_form_is_told_so() {
    for content_type in
        ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=a", "multipart/form-data; boundary="]
    {
        assert_eq!(spans(content_type.as_bytes(), b""), Err(FormError::ContentType), "{content_type}");
    }
    let long = format!("multipart/form-data; boundary={}", "a".repeat(BOUNDARY_MAX + 1));
    assert_eq!(spans(long.as_bytes(), b""), Err(FormError::ContentType));
    let quoted = b"Multipart/Form-Data; charset=utf-8; Boundary=\"xYz\"";
    assert_eq!(spans(quoted, b"--xYz--"), Ok(Spans::default()));
    for body in ["", "{}", "--xYz", "--xYz\r", "--xYzz\r\n\r\n\r\n--xYz--", &named("model", "a")] {
        assert_eq!(found(body), Err(FormError::Parts), "{body:?}");
    }
    let folded = part("Content-Disposition: form-data;\r\n name=\"model\"", "a") + "--xYz--";
    let long_head = part(&format!("a: {}", "x".repeat(PART_HEAD_MAX)), "a") + "--xYz--";
    for body in [folded, long_head, part("no colon", "a") + "--xYz--", "--xYz\r\na: b".to_owned()] {
        assert_eq!(found(&body), Err(FormError::PartHead), "{body:?}");
    }
}

/// Rule 9: everything is bounded.
#[test]
fn parts_are_bounded() {
    let parts = |count: usize| found(&(named("x", "").repeat(count) + "--xYz--")).err();
    assert_eq!(parts(PARTS_MAX), None);
    assert_eq!(parts(PARTS_MAX + 1), Some(FormError::TooManyParts));
}

proptest! {
    /// Rule 10: the model never changes silently. It is found as it was written, whatever stands around it.
    #[test]
    fn rule_10_the_model_is_found_wherever_it_stands(
        before in vec(any::<Vec<u8>>(), 0..4), after in vec(any::<Vec<u8>>(), 0..4), model: String,
    ) {
        prop_assume!(!model.contains("\r\n--xYz"));
        let file = |content: &Vec<u8>| {
            let head = b"--xYz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
            [head.as_slice(), content, b"\r\n"].concat()
        };
        prop_assume!(before.iter().chain(&after).all(|content| memmem::find(content, b"\r\n--xYz").is_none()));
        let before = before.iter().flat_map(file).collect::<Vec<u8>>();
        let after = after.iter().flat_map(file).collect::<Vec<u8>>();
        let body = [before.as_slice(), named("model", &model).as_bytes(), &after, b"--xYz--\r\n"].concat();
        let spans = spans(TYPE, &body).unwrap();
        prop_assert_eq!(&body[spans.model.unwrap()], model.as_bytes());
        prop_assert_eq!(spans.stream, None);
    }

    #[test]
    fn any_bytes_are_read_without_panic(content_type: Vec<u8>, body: Vec<u8>, noise in "[-xYz\r\n:;=\" a\\\\]{0,200}") {
        let _ = spans(&content_type, &body);
        let _ = spans(TYPE, &body);
        let _ = spans(TYPE, noise.as_bytes());
        let _ = spans(TYPE, ["--xYz", noise.as_str()].concat().as_bytes());
    }
}
