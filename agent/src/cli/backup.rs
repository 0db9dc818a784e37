//! `shoal backup` and `shoal restore`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use shoal_mesh::{Backup, RestoreOutcome, Restored};

use super::{
    args::{BackupArgs, RestoreArgs},
    client::Client,
    output::{Output, note, out},
    table::Table,
};
use crate::admin::{BACKUP_MAX, Code, Problem};

pub(super) async fn backup(client: &Client, args: BackupArgs) -> Result<(), Problem> {
    let text = client.get_text("/v1/backup").await?;
    // What is kept must be what can be restored.
    let backup = Backup::parse(&text).map_err(|error| Problem::new(Code::Failed, error))?;
    if args.file == Path::new("-") {
        out(&text)?;
    } else {
        write_whole(&args.file, text.as_bytes()).map_err(|error| {
            Problem::new(Code::Failed, format!("cannot write the backup to {}: {error}", args.file.display()))
        })?;
    }
    note(&format!(
        "{} entries of mesh {} as node {} has them at {}; private keys are not among them: keep root.key as well",
        backup.len(),
        backup.origin.mesh,
        backup.origin.node.short(),
        backup.origin.made,
    ));
    Ok(())
}

/// The file is all of `bytes`, or what it was before. For its owner alone: it says which keys there are.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.exists() && !path.is_file() {
        return Err(io::Error::other("it is not a file; `-` prints the backup to standard output"));
    }
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&part); // best effort: what matters is reported
    }
    written
}

pub(super) async fn restore(client: &Client, args: RestoreArgs) -> Result<(), Problem> {
    let text = read(&args.file)?;
    let backup = Backup::parse(&text).map_err(|error| {
        Problem::new(Code::Invalid, format!("{}: {error}", args.file.display())).hint("nothing was restored")
    })?;
    note(&format!(
        "backup of mesh {}, made by node {} at {}, {} entries",
        backup.origin.mesh,
        backup.origin.node.short(),
        backup.origin.made,
        backup.len(),
    ));
    let path = format!("/v1/restore?dryRun={}&replace={}", args.dry_run, args.replace);
    let restored: Vec<Restored> = client.post_text(&path, text).await?;
    args.output.output.print(&restored, |wide| table(&restored, wide))?;
    if matches!(args.output.output, Output::Table) {
        let unchanged = restored.iter().filter(|one| one.outcome == RestoreOutcome::Unchanged).count();
        note(&format!(
            "{unchanged} entries are there already{}",
            if args.dry_run { "; nothing was written" } else { "" }
        ));
    }
    Ok(())
}

/// What changes or needs a look; all of it where that is asked for.
fn table(restored: &[Restored], wide: bool) -> Table {
    let mut table = Table::new(&["ENTRY", "OUTCOME"], &[], wide);
    for one in restored.iter().filter(|one| wide || one.outcome != RestoreOutcome::Unchanged) {
        table.row([one.what.clone(), one.outcome.to_string()]);
    }
    table
}

fn read(path: &PathBuf) -> Result<String, Problem> {
    let mut text = String::new();
    let most = u64::try_from(BACKUP_MAX).unwrap_or(u64::MAX) + 1;
    let read = if path == Path::new("-") {
        io::stdin().lock().take(most).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(most).read_to_string(&mut text))
    };
    read.map_err(|error| Problem::new(Code::Invalid, format!("cannot read the backup {}: {error}", path.display())))?;
    if text.len() > BACKUP_MAX {
        let why = format!("{} is larger than {} MiB: no backup of shoal is", path.display(), BACKUP_MAX >> 20);
        return Err(Problem::new(Code::Invalid, why));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_written_whole_for_its_owner_or_not_at_all() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mesh.backup");
        write_whole(&path, b"first").unwrap();
        write_whole(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_whole(&dir.path().join("no/such/directory"), b"x").is_err());
        assert!(write_whole(Path::new("/dev/full"), b"x").is_err(), "a device is not replaced");
        assert!(write_whole(dir.path(), b"x").is_err());
        let here: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(here, ["mesh.backup"], "nothing else is left");
    }
}
