//! A file whose presence is a notice.

use std::{
    fs::Metadata,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    fs::{self, File},
    io::AsyncReadExt as _,
};

use super::{
    finding::{Deadline, Finding},
    poll::{Ask, AskError},
    statement::notice_text,
    when::unix_millis,
};

/// A look at the file costs one system call.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// Most of it that is read, in bytes.
const CONTENT_MAX: u64 = 64 << 10;

/// Looks for the file.
#[derive(Debug)]
pub(super) struct NoticeFile(pub(super) PathBuf);

impl Ask for NoticeFile {
    async fn ask(&mut self) -> Result<Option<Finding>, AskError> {
        match fs::metadata(&self.0).await {
            Ok(metadata) => Ok(Some(read(&self.0, &metadata).await)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AskError::File { path: self.0.clone(), source }),
        }
    }
}

/// The file is there, so there is a notice, whatever can be read of it. Opening anything but a plain file could hang.
async fn read(path: &Path, metadata: &Metadata) -> Finding {
    let text = if metadata.is_file() { content(path).await } else { Ok(String::new()) };
    let text = text.unwrap_or_else(|error| format!("it cannot be read: {error}"));
    let mut finding = notice_text(&text, &format!("{} is there", path.display()));
    if let Deadline::In(left) = finding.deadline
        && let Some(written) = metadata.modified().ok().and_then(unix_millis)
    {
        finding.deadline = Deadline::At(written.plus(left));
    }
    finding
}

async fn content(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path).await?.take(CONTENT_MAX).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use shoal_types::UnixMillis;

    use super::*;

    #[tokio::test]
    async fn presence_is_a_notice_and_spans_count_from_the_last_write() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = NoticeFile(dir.path().join("notice"));
        assert_eq!(file.ask().await.unwrap(), None);

        std::fs::write(&file.0, "").unwrap();
        let finding = file.ask().await.unwrap().unwrap();
        assert_eq!(finding.deadline, Deadline::Unsaid);
        assert!(finding.detail.ends_with("/notice is there"), "{}", finding.detail);

        std::fs::write(&file.0, r#"{"deadline": "60s", "reason": "sold"}"#).unwrap();
        let written = std::time::UNIX_EPOCH + Duration::from_secs(1000);
        File::options().write(true).open(&file.0).await.unwrap().into_std().await.set_modified(written).unwrap();
        let finding = file.ask().await.unwrap().unwrap();
        assert_eq!(finding.deadline, Deadline::At(UnixMillis::from_millis(1_060_000)));
        assert_eq!(finding.detail, "sold");

        std::fs::remove_file(&file.0).unwrap();
        assert_eq!(file.ask().await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_not_a_plain_file_is_a_notice_too() {
        let dir = tempfile::tempdir().unwrap();
        assert!(NoticeFile(dir.path().to_owned()).ask().await.unwrap().is_some());
        let below_a_file = dir.path().join("file");
        std::fs::write(&below_a_file, "").unwrap();
        let unknown = NoticeFile(below_a_file.join("notice")).ask().await;
        assert!(matches!(unknown, Err(AskError::File { .. })), "{unknown:?}");
    }

    #[tokio::test]
    async fn a_huge_file_is_read_up_to_a_bound() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        assert!(NoticeFile(file.path().to_owned()).ask().await.unwrap().is_some());
    }
}
