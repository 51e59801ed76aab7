//! Starts the gateways of `examples/gateways/`, each with its example file and in a folder of its own. Only the ports
//! and the organisation are replaced in the file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use crate::served::{Connection, free_port};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Caddy,
    Haproxy,
    Traefik,
    Envoy,
    /// Envoy as the README configures versions before 1.38, which append the client's path to Latchkey's.
    OlderEnvoy,
}

/// A gateway process, killed on drop.
pub struct Gateway {
    pub address: SocketAddr,
    child: Child,
}

impl Gateway {
    /// Starts a gateway in front of a service, and waits until it asks the authorizer, which is Latchkey or a fake.
    pub async fn start(
        kind: Kind,
        folder: &Path,
        authorizer: SocketAddr,
        service: SocketAddr,
        organisation: &str,
    ) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let example = Example { folder, gateway: address, authorizer, service, organisation };
        let log = folder.join("gateway.log");
        let out = fs::File::create(&log).expect("a log file");
        let child = example
            .command(kind)
            .current_dir(folder)
            // Caddy keeps a copy of its configuration in its user's folder.
            .env("HOME", folder)
            .env("XDG_CONFIG_HOME", folder)
            .env("XDG_DATA_HOME", folder)
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a second handle"))
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("{kind:?} does not start: {error}"));
        let mut gateway = Self { address, child };
        gateway.wait(kind, &log).await;
        gateway
    }

    /// Waits until a request without a key gets the authorizer's 401. An open port is not enough: Traefik listens
    /// before it has read its routes.
    async fn wait(&mut self, kind: Kind, log: &Path) {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let answer = match Connection::open(self.address).await {
                Ok(mut connection) => connection.call("GET", "/", &[], "").await.ok(),
                Err(_) => None,
            };
            if answer.is_some_and(|answer| answer.status == 401) {
                return;
            }
            let ended = self.child.try_wait().expect("a status");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{kind:?} does not serve ({ended:?})\n{}",
                fs::read_to_string(log).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Example<'a> {
    folder: &'a Path,
    gateway: SocketAddr,
    authorizer: SocketAddr,
    service: SocketAddr,
    organisation: &'a str,
}

impl Example<'_> {
    fn command(&self, kind: Kind) -> Command {
        match kind {
            Kind::Nginx => {
                let example = self.fill("nginx.conf");
                // The surrounding blocks of Debian's /etc/nginx/nginx.conf, with one process and with all files in this
                // folder.
                let whole = format!(
                    "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}
                     http {{
                         access_log off;
                         client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
                         uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                         include {};
                     }}",
                    example.display()
                );
                self.run(debian("nginx"), &["-e", "stderr", "-p", ".", "-c", &self.write("whole.conf", &whole)])
            }
            Kind::Caddy => {
                let example = self.fill("Caddyfile");
                // Caddy's admin API would listen on the same port in every test.
                let whole = format!("{{\n\tadmin off\n}}\nimport {}\n", example.display());
                let whole = self.write("whole.caddy", &whole);
                self.run(debian("caddy"), &["run", "--adapter", "caddyfile", "--config", &whole])
            }
            Kind::Haproxy => {
                fs::copy(examples().join("latchkey.lua"), self.folder.join("latchkey.lua")).expect("the script");
                let example = self.fill("haproxy.cfg");
                self.run(debian("haproxy"), &["-db", "-f", &example.display().to_string()])
            }
            Kind::Traefik => self.run(
                installed("traefik"),
                &[
                    &format!("--entryPoints.web.address={}", self.gateway),
                    &format!("--providers.file.filename={}", self.fill("traefik-routes.yaml").display()),
                    // Traefik looks for newer versions by default.
                    "--global.checkNewVersion=false",
                    "--global.sendAnonymousUsage=false",
                ],
            ),
            Kind::Envoy => self.envoy(&self.fill("envoy.yaml")),
            Kind::OlderEnvoy => {
                let example = self.fill("envoy.yaml");
                let text = fs::read_to_string(&example).expect("the example");
                assert!(text.contains("path_override:"), "{text}");
                self.write("envoy.yaml", &text.replace("path_override:", "path_prefix:"));
                self.envoy(&example)
            }
        }
    }

    fn envoy(&self, example: &Path) -> Command {
        let example = example.display().to_string();
        // Hot restart allows only one Envoy per base ID, and tests run several.
        self.run(installed("envoy"), &["--disable-hot-restart", "--log-level", "warning", "--config-path", &example])
    }

    fn run(&self, program: PathBuf, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder);
        command
    }

    /// Writes the example into the folder with its placeholders replaced. A port could contain another placeholder, so
    /// all placeholders are replaced by marks before any value is inserted.
    fn fill(&self, name: &str) -> PathBuf {
        let mut text = fs::read_to_string(examples().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut values = vec![
            ("3000", "<authorizer>", self.authorizer.port().to_string()),
            ("9000", "<service>", self.service.port().to_string()),
            ("org_0123456789abcdef", "<organisation>", self.organisation.to_owned()),
        ];
        // Traefik's own port is on its command line.
        if name != "traefik-routes.yaml" {
            values.push(("8080", "<gateway>", self.gateway.port().to_string()));
        }
        for (placeholder, mark, _) in &values {
            assert!(text.contains(placeholder), "{name} does not mention {placeholder}");
            text = text.replace(placeholder, mark);
        }
        for (_, mark, value) in &values {
            text = text.replace(mark, value);
        }
        self.folder.join(self.write(name, &text))
    }

    /// Writes a file; returns its path.
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("the file can be written");
        path.display().to_string()
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gateways")
}

/// Finds a program that Debian packages; /usr/sbin may be missing in PATH.
fn debian(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: tools/setup-test does it, or: apt-get install {name}"))
}

/// Finds a program of `requirements.txt` beside this file.
fn installed(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/gateways/bin").join(name);
    assert!(program.is_file(), "{name} is not installed in target/gateways: tools/setup-test does it");
    program
}
