use super::*;

/// A safetensors file with one tensor of `bytes` bytes.
pub(in crate::weights) fn safetensors(bytes: usize) -> Vec<u8> {
    let header = format!(
        r#"{{"__metadata__":{{"format":"pt"}},"w":{{"dtype":"U8","shape":[{bytes}],"data_offsets":[0,{bytes}]}}}}"#
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(vec![7; bytes]);
    file
}

fn model(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

fn problem(directory: &tempfile::TempDir) -> String {
    check_model(directory.path()).unwrap_err().to_string()
}

const INDEX: &[u8] =
    br#"{"metadata": {"total_size": 300}, "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;

#[test]
fn a_whole_model_is_counted() {
    let (one, two) = (safetensors(100), safetensors(200));
    let whole = model(&[
        ("config.json", b"{}"),
        ("model.safetensors.index.json", INDEX),
        ("1.safetensors", &one),
        ("2.safetensors", &two),
        ("consolidated.safetensors", b"not looked at"),
    ]);
    assert_eq!(check_model(whole.path()).unwrap().weights, (one.len() + two.len()) as u64);
    let mistral = model(&[("params.json", b"{}"), ("consolidated.safetensors", &one)]);
    assert_eq!(check_model(mistral.path()).unwrap().weights, one.len() as u64);
    let gguf = model(&[("m.gguf", b"GGUF and more")]);
    assert_eq!(check_model(&gguf.path().join("m.gguf")).unwrap().weights, 13);
}

#[test]
fn what_is_no_model_is_told_apart() {
    assert!(matches!(check_model(Path::new("/none/at/all")), Err(BadModel::Missing(_))));
    assert!(matches!(check_model(model(&[]).path()), Err(BadModel::NoConfig(_))));
    assert!(problem(&model(&[("config.json", b"{\"a\": ")])).contains("is not a JSON object"));
    let text = model(&[("readme", b"hello")]);
    let error = check_model(&text.path().join("readme")).unwrap_err().to_string();
    assert!(error.ends_with("is neither a model directory nor in GGUF format"), "{error}");
}

#[test]
fn truncated_weights_are_known_without_reading_them() {
    let whole = safetensors(100);
    for length in [0, 5, 8, 20, whole.len() - 1] {
        let cut = model(&[("config.json", b"{}"), ("model.safetensors", &whole[..length])]);
        assert!(problem(&cut).contains("is cut off"), "{length}: {}", problem(&cut));
    }
    let mut longer = whole.clone();
    longer.push(0);
    let longer = model(&[("config.json", b"{}"), ("model.safetensors", &longer)]);
    assert!(problem(&longer).contains("has something after its end"));
    let html = model(&[("config.json", b"{}"), ("model.safetensors", b"<!DOCTYPE html><html></html>")]);
    assert!(problem(&html).contains("its header would have over 100 MB"));
}

#[test]
fn every_shard_of_the_index_must_be_there() {
    let one = safetensors(1);
    let missing = model(&[("config.json", b"{}"), ("model.safetensors.index.json", INDEX), ("1.safetensors", &one)]);
    assert!(problem(&missing).contains("2.safetensors of the model: No such file"), "{}", problem(&missing));
    let outside = br#"{"weight_map": {"a": "../../etc/passwd"}}"#;
    let outside = model(&[("config.json", b"{}"), ("model.safetensors.index.json", outside)]);
    assert!(problem(&outside).contains("which is not a file of the model"));
    let bins = br#"{"weight_map": {"a": "1.bin"}}"#;
    let empty = model(&[("config.json", b"{}"), ("pytorch_model.bin.index.json", bins), ("1.bin", b"")]);
    assert!(problem(&empty).ends_with("1.bin of the model is empty"), "{}", problem(&empty));
}
