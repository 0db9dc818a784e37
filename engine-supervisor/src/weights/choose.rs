//! Which files of a repository engines need. Repositories hold the same weights several times: as safetensors, as
//! pickles, as the original checkpoint, for other runtimes, and in a dozen quantizations.

use std::collections::{BTreeMap, BTreeSet};

use super::model_id::GgufChoice;

/// Configuration, tokenizers, templates. Code is run only by engines that were told to trust it.
const TEXTS: [&str; 8] = ["json", "txt", "model", "jinja", "tiktoken", "vocab", "yaml", "py"];
/// GGUF models that are listed in an error.
const LISTED_MAX: usize = 12;

/// What to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice<'a> {
    /// Paths in the repository.
    pub(super) files: Vec<&'a str>,
    /// The (first) GGUF, if it is one that the engine is to load.
    pub(super) gguf: Option<&'a str>,
}

/// Why it is not clear what to fetch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoChoice {
    /// Nothing that an engine loads.
    #[error("it holds no weights: neither safetensors, nor PyTorch's files, nor GGUF")]
    NoWeights,
    /// No GGUF has that name or quantization.
    #[error("it holds no GGUF `{wanted}`; there are {}", list(.there))]
    NoSuchGguf {
        /// What was asked for.
        wanted: String,
        /// What there is.
        there: Vec<String>,
    },
    /// Several GGUF models, and nothing said which.
    #[error("it holds several GGUF models: name one, such as `organisation/name:Q4_K_M`; there are {}", list(.0))]
    SeveralGgufs(Vec<String>),
}

fn list(names: &[String]) -> String {
    let more = if names.len() > LISTED_MAX { ", …" } else { "" };
    match names {
        [] => "none".to_owned(),
        _ => names[..names.len().min(LISTED_MAX)].join(", ") + more,
    }
}

/// The files among `paths`:
/// * texts of the root and, with their weights, of modules of sentence-transformers (`1_Pooling/…`);
/// * all safetensors of the root: of Mistral's two sets (`model-*`, `consolidated*`) engines differ in which they read;
/// * where there are none, `pytorch_model*.bin`, else `*.pth` and `*.pt`, else GGUF;
/// * if a GGUF is named, that one with all its parts, and no other weights.
pub(super) fn choose<'a>(paths: &[&'a str], gguf: Option<&GgufChoice>) -> Result<Choice<'a>, NoChoice> {
    let mut files: Vec<&str> = paths.iter().copied().filter(|path| is_text(path) || is_module(path)).collect();
    let weights = if gguf.is_some() { Vec::new() } else { tensors(paths) };
    if !weights.is_empty() {
        files.extend(weights);
        return Ok(Choice { files, gguf: None });
    }
    let parts = chosen_gguf(paths, gguf)?;
    let first = parts.iter().min().copied();
    files.extend(parts);
    Ok(Choice { files, gguf: first })
}

fn is_text(path: &str) -> bool {
    !path.contains('/') && !path.starts_with('.') && TEXTS.contains(&extension(path))
}

/// A numbered module of sentence-transformers.
fn is_module(path: &str) -> bool {
    path.split_once('/').is_some_and(|(directory, file)| {
        directory.starts_with(|first: char| first.is_ascii_digit())
            && directory.contains('_')
            && !file.contains('/')
            && (TEXTS.contains(&extension(file)) || extension(file) == "safetensors")
    })
}

/// Of the root, the files of the first format that there is.
fn tensors<'a>(paths: &[&'a str]) -> Vec<&'a str> {
    const FORMATS: [fn(&str) -> bool; 3] = [
        |path| extension(path) == "safetensors",
        |path| path.starts_with("pytorch_model") && extension(path) == "bin",
        |path| matches!(extension(path), "pth" | "pt"),
    ];
    let root = |format: fn(&str) -> bool| -> Vec<&'a str> {
        paths.iter().copied().filter(|path| !path.contains('/') && format(path)).collect()
    };
    FORMATS.into_iter().map(root).find(|found| !found.is_empty()).unwrap_or_default()
}

/// The parts of the one GGUF that is meant.
fn chosen_gguf<'a>(paths: &[&'a str], choice: Option<&GgufChoice>) -> Result<Vec<&'a str>, NoChoice> {
    let mut models: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in paths.iter().copied().filter(|path| extension(path) == "gguf") {
        // A projector for images is no model of its own.
        if !file_name(path).starts_with("mmproj") {
            models.entry(gguf_stem(path)).or_default().push(path);
        }
    }
    let there =
        || models.values().flatten().map(|&path| path.to_owned()).collect::<BTreeSet<_>>().into_iter().collect();
    let meant: Vec<&Vec<&str>> = match choice {
        None if models.is_empty() => return Err(NoChoice::NoWeights),
        None => models.values().collect(),
        Some(GgufChoice::File(file)) => models.values().filter(|parts| parts.contains(&file.as_str())).collect(),
        Some(GgufChoice::Quantization(name)) => {
            models.iter().filter(|(stem, _)| is_quantization(stem, name)).map(|(_, parts)| parts).collect()
        }
    };
    match (meant.as_slice(), choice) {
        ([parts], _) => Ok((*parts).clone()),
        ([], Some(GgufChoice::File(wanted) | GgufChoice::Quantization(wanted))) => {
            Err(NoChoice::NoSuchGguf { wanted: wanted.clone(), there: there() })
        }
        _ => Err(NoChoice::SeveralGgufs(there())),
    }
}

/// Without its extension, and without the number of its part (`-00001-of-00003`).
fn gguf_stem(path: &str) -> &str {
    let stem = path.strip_suffix(".gguf").unwrap_or(path);
    let number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let part = stem.rsplit_once("-of-").filter(|(_, total)| number(total)).map(|(rest, _)| rest);
    let whole = part.and_then(|rest| rest.rsplit_once('-')).filter(|(_, index)| number(index)).map(|(whole, _)| whole);
    whole.unwrap_or(stem)
}

/// Whether `stem` ends in the word `quantization`, in any case.
fn is_quantization(stem: &str, quantization: &str) -> bool {
    let (stem, quantization) = (stem.to_lowercase(), quantization.to_lowercase());
    let before = stem.strip_suffix(&quantization);
    before.is_some_and(|before| before.is_empty() || before.ends_with(['-', '.', '_', '/']))
}

fn extension(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen<'a>(paths: &[&'a str]) -> Vec<&'a str> {
        choose(paths, None).unwrap().files
    }

    fn quantization(name: &str) -> GgufChoice {
        GgufChoice::Quantization(name.to_owned())
    }

    #[test]
    fn safetensors_are_preferred_to_all_copies() {
        let paths = [
            ".gitattributes",
            "README.md",
            "config.json",
            "generation_config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "onnx/model.onnx",
            "original/consolidated.00.pth",
            "original/params.json",
            "pytorch_model.bin",
            "tokenizer.json",
            "training_args.bin",
        ];
        assert_eq!(
            chosen(&paths),
            [
                "config.json",
                "generation_config.json",
                "model.safetensors.index.json",
                "tokenizer.json",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors"
            ]
        );
    }

    #[test]
    fn older_formats_serve_where_there_is_no_other() {
        let bins = ["config.json", "optimizer.bin", "pytorch_model-00001-of-00001.bin", "x.pth"];
        assert_eq!(chosen(&bins), ["config.json", "pytorch_model-00001-of-00001.bin"]);
        assert_eq!(chosen(&["params.json", "consolidated.00.pth"]), ["params.json", "consolidated.00.pth"]);
        assert_eq!(choose(&["config.json"], None), Err(NoChoice::NoWeights));
    }

    #[test]
    fn modules_of_sentence_transformers_come_along() {
        let paths =
            ["1_Pooling/config.json", "2_Dense/model.safetensors", "model.safetensors", "modules.json", "x/y.json"];
        assert_eq!(
            chosen(&paths),
            ["1_Pooling/config.json", "2_Dense/model.safetensors", "modules.json", "model.safetensors"]
        );
    }

    #[test]
    fn one_gguf_of_many_is_named_by_its_quantization_or_file() {
        let paths = [
            "Q8_0/m-Q8_0-00001-of-00002.gguf",
            "Q8_0/m-Q8_0-00002-of-00002.gguf",
            "config.json",
            "m-Q4_K_M.gguf",
            "m-Q4_K.gguf",
            "mmproj-F16.gguf",
        ];
        let choice = choose(&paths, Some(&quantization("q8_0"))).unwrap();
        assert_eq!(choice.gguf, Some(paths[0]));
        assert_eq!(choice.files, ["config.json", paths[0], paths[1]]);
        assert_eq!(choose(&paths, Some(&quantization("Q4_K"))).unwrap().gguf, Some("m-Q4_K.gguf"));
        let file = GgufChoice::File("m-Q4_K_M.gguf".to_owned());
        assert_eq!(choose(&paths, Some(&file)).unwrap().files, ["config.json", "m-Q4_K_M.gguf"]);
        let error = choose(&paths, Some(&quantization("K_M"))).unwrap();
        assert_eq!(error.gguf, Some("m-Q4_K_M.gguf"), "a word of the quantization is enough if only one has it");

        let error = choose(&paths, Some(&quantization("Q2_K"))).unwrap_err().to_string();
        assert!(error.starts_with("it holds no GGUF `Q2_K`; there are Q8_0/m-Q8_0-00001"), "{error}");
        let error = choose(&paths, None).unwrap_err().to_string();
        assert!(error.contains("name one, such as `organisation/name:Q4_K_M`; there are Q8_0/m"), "{error}");
    }

    #[test]
    fn a_named_gguf_leaves_other_weights_behind() {
        let paths = ["model.safetensors", "m-Q4_0.gguf"];
        assert_eq!(chosen(&paths), ["model.safetensors"]);
        assert_eq!(choose(&paths, Some(&quantization("Q4_0"))).unwrap().files, ["m-Q4_0.gguf"]);
        assert_eq!(choose(&paths[1..], None).unwrap().gguf, Some("m-Q4_0.gguf"));
    }
}
