//! A PostgreSQL server of one test, which can crash and be restarted.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::served::{free_port, signal};

/// A PostgreSQL server, stopped on drop.
pub struct Postgres {
    pub address: SocketAddr,
    programs: PathBuf,
    folder: PathBuf,
    owner: Option<Owner>,
    child: Option<Child>,
}

/// The user that PostgreSQL runs as if the tests run as root, because it refuses to run as root.
#[derive(Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    fn find() -> Option<Self> {
        let own = fs::metadata("/proc/self").expect("Linux").uid();
        let id = |what: &str| {
            let said = Command::new("id").args([what, "postgres"]).output().expect("id runs").stdout;
            String::from_utf8_lossy(&said).trim().parse().expect("run as root, this needs the user 'postgres'")
        };
        (own == 0).then(|| Self { user: id("-u"), group: id("-g") })
    }
}

impl Postgres {
    /// Creates an empty database cluster in a new folder, and starts the server.
    pub async fn start(folder: &Path) -> Self {
        fs::create_dir(folder).expect("a folder");
        let owner = Owner::find();
        if let Some(owner) = owner {
            chown(folder, Some(owner.user), Some(owner.group)).expect("root may change the owner");
        }
        let mut postgres = Self {
            address: (Ipv4Addr::LOCALHOST, free_port()).into(),
            programs: programs(),
            folder: folder.to_owned(),
            owner,
            child: None,
        };
        let made = postgres
            .command("initdb")
            .args(["-D", "data", "-U", "latchkey", "--auth=trust", "--locale=C", "--encoding=UTF8"])
            .args(["--no-sync", "--no-instructions"])
            .status();
        assert!(made.is_ok_and(|status| status.success()), "{}", postgres.log());
        postgres.run().await;
        postgres
    }

    /// The database URL with this address, which may be that of a proxy.
    pub fn url_by(address: SocketAddr) -> String {
        // Connections on one machine need no TLS.
        format!("postgres://latchkey@{address}/postgres?sslmode=disable")
    }

    pub async fn connect(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect(&Self::url_by(self.address)).await
    }

    /// Stops the server without a shutdown checkpoint (SIGQUIT), like a power cut that loses no written data.
    pub fn crash(&mut self) {
        let mut child = self.child.take().expect("PostgreSQL runs");
        signal(child.id(), "QUIT");
        child.wait().expect("the process ends");
    }

    /// Starts the server on the same address, and waits until it answers.
    pub async fn run(&mut self) {
        let port = self.address.port().to_string();
        let child = self
            .command("postgres")
            .args(["-D", "data", "-p", &port, "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories=", "-c", "max_connections=200"])
            // Without fsync, only a crash of the machine would lose data, not a crash of the program.
            .args(["-c", "fsync=off"])
            .spawn()
            .expect("PostgreSQL starts");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_mins(1);
        while self.connect().await.is_err() {
            assert!(Instant::now() < deadline, "PostgreSQL does not answer\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Crashes the server, copies its data, and starts it again.
    pub async fn back_up(&mut self) {
        self.crash();
        self.copy("data", "backup");
        self.run().await;
    }

    /// Restores the copy.
    pub async fn restore(&mut self) {
        self.crash();
        self.copy("backup", "data");
        self.run().await;
    }

    fn copy(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.folder.join(to));
        let mut copy = Command::new("cp");
        copy.current_dir(&self.folder).args(["-a", from, to]);
        assert!(copy.status().is_ok_and(|status| status.success()), "{from} to {to}");
    }

    /// Cuts all client connections.
    pub async fn cut_connections(&self) {
        let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        let mut connection = self.connect().await.expect("PostgreSQL answers");
        connection.execute(AssertSqlSafe(statement.to_owned())).await.expect("all connections are cut");
    }

    fn command(&self, program: &str) -> Command {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log")).expect("a log");
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        if let Some(owner) = self.owner {
            command.uid(owner.user).gid(owner.group);
        }
        command
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.crash();
        }
    }
}

/// Finds the programs of the newest installed version.
fn programs() -> PathBuf {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    folders.sort_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name).and_then(|version| version.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    folders
        .into_iter()
        .rev()
        .find(|folder| folder.join("initdb").is_file())
        .expect("PostgreSQL's server is not installed: tools/setup-test does it")
}
