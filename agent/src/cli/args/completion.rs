//! `shoal completion`.

use clap::ValueEnum;

/// A shell that can complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// source <(shoal completion bash)
    Bash,
    /// source <(shoal completion zsh)
    Zsh,
    /// shoal completion fish | source
    Fish,
}
