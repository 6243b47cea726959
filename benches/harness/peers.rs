//! The servers that frameloop is compared with, `benches/peers/`: how each
//! is built, and how it is run.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

type Outcome<T> = std::result::Result<T, String>;

/// A server to compare with frameloop.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) version: String,
    pub(crate) command: Vec<String>,
    /// With more it is not tried.
    pub(crate) max_connections: usize,
}

/// Names of all peers, in the table's order.
pub(crate) static NAMES: [&str; RECIPES.len()] = {
    let mut names = [""; RECIPES.len()];
    let mut nth = 0;
    while nth < names.len() {
        names[nth] = RECIPES[nth].name;
        nth += 1;
    }
    names
};

/// Builds one of them below `folder` (the harness's temporary folder for this
/// run), or says in one line why it cannot run here.
pub(crate) fn build(name: &str, folder: &Path) -> Outcome<Peer> {
    let recipe = RECIPES.iter().find(|it| it.name == name).ok_or_else(|| format!("no peer is called {name:?}"))?;
    for (test, missing) in recipe.needs {
        said(&words(test, folder)).map_err(|_| (*missing).to_owned())?;
    }
    for command in recipe.build {
        said(&words(command, folder))?;
    }
    let parts: Outcome<Vec<_>> = recipe.version.iter().map(|part| part.told(folder)).collect();
    let (title, command) = (recipe.title, words(recipe.run, folder));
    let limit = CONNECTIONS_MAX.iter().find(|(limited, _)| *limited == name);
    let max_connections = limit.map_or(usize::MAX, |(_, max_connections)| *max_connections);
    Ok(Peer { name: recipe.name, title, version: parts?.join(", "), command, max_connections })
}

/// A command, in whose words `{sources}` stands for `benches/peers`, `{out}`
/// for the folder of this run, and `{cargo}` for the program of that name.
/// `{crate}` is where it builds: not in the folder of this run, so that the
/// next run need not build again.
type Words = &'static [&'static str];

#[derive(Debug)]
struct Recipe {
    name: &'static str,
    title: &'static str,
    /// Commands that fail where something is missing, and the line for that.
    needs: &'static [(Words, &'static str)],
    build: &'static [Words],
    run: Words,
    version: &'static [Part],
}

/// One part of a version: of what a command says, all between two texts.
#[derive(Debug)]
struct Part {
    label: &'static str,
    said_by: Words,
    after: &'static str,
    before: &'static str,
}

impl Part {
    fn told(&self, folder: &Path) -> Outcome<String> {
        let said = said(&words(self.said_by, folder))?;
        let (_, rest) = said.split_once(self.after).ok_or_else(|| format!("not a version: {said}"))?;
        let version = rest.split(self.before).next().unwrap_or_default();
        Ok(format!("{} {}", self.label, version.trim()))
    }
}

static RECIPES: [Recipe; 11] = [
    Recipe {
        name: "tokio-hand",
        title: "tokio, one BytesMut, by hand",
        needs: &[],
        build: &[CARGO],
        run: &["{crate}/release/tokio-hand"],
        version: &[TOKIO],
    },
    Recipe {
        name: "tokio-codec",
        title: "tokio, LengthDelimitedCodec",
        needs: &[],
        build: &[CARGO],
        run: &["{crate}/release/tokio-codec"],
        version: &[TOKIO],
    },
    Recipe {
        name: "threads",
        title: "a thread a client, Rust's std",
        needs: &[],
        build: &[CARGO],
        run: &["{crate}/release/threads"],
        version: &[Part { label: "rustc", said_by: &["rustc", "--version"], after: "rustc ", before: " " }],
    },
    Recipe {
        name: "libuv",
        title: "libuv, by hand",
        needs: &[(&["test", "-e", "/usr/include/uv.h"], "libuv1-dev is not installed")],
        build: &[&["cc", "-std=gnu11", "-O2", "-o", "{out}/libuv", "{sources}/libuv.c", "-luv"]],
        run: &["{out}/libuv"],
        version: &[Part { label: "libuv", said_by: &["pkg-config", "--modversion", "libuv"], after: "", before: "\n" }],
    },
    Recipe {
        name: "asio",
        title: "Boost.Asio, by hand",
        needs: &[(&["test", "-e", "/usr/include/boost/asio.hpp"], "libboost-dev is not installed")],
        build: &[&["g++", "-std=c++17", "-O2", "-o", "{out}/asio", "{sources}/asio.cpp", "-pthread"]],
        run: &["{out}/asio"],
        version: &[Part {
            label: "Boost",
            said_by: &["grep", "define BOOST_LIB_VERSION", "/usr/include/boost/version.hpp"],
            after: "\"",
            before: "\"",
        }],
    },
    Recipe {
        name: "go",
        title: "Go's net, by hand",
        needs: &[],
        build: &[&["go", "build", "-o", "{out}/go", "{sources}/go/main.go"]],
        run: &["{out}/go"],
        version: &[Part { label: "Go", said_by: &["go", "version"], after: "version go", before: " " }],
    },
    Recipe {
        name: "netty",
        title: "Netty, by hand",
        needs: &[(&["test", "-e", "/usr/share/java/netty-transport.jar"], "libnetty-java is not installed")],
        build: &[&["javac", "-d", "{out}/netty", "-cp", NETTY, "{sources}/netty/Echo.java"]],
        run: &[
            "java",
            "-XX:+UseSerialGC",
            "-Dio.netty.leakDetection.level=disabled",
            "-Dio.netty.buffer.checkAccessible=false",
            "-Dio.netty.buffer.checkBounds=false",
            "-cp",
            NETTY,
            "Echo",
        ],
        version: &[
            Part {
                label: "Netty",
                said_by: &["sh", "-c", "ls /usr/share/java/netty-transport-[0-9]*.jar"],
                after: "transport-",
                before: ".Final",
            },
            Part { label: "Java", said_by: &["java", "--version"], after: " ", before: " " },
        ],
    },
    Recipe {
        name: "erlang",
        title: "Erlang's gen_tcp, {packet, 4}",
        needs: &[],
        build: &[&["erlc", "-o", "{out}", "{sources}/erlang/packet4.erl"]],
        run: &["sh", "-c", ERLANG, "{out}", "packet4"],
        version: &[OTP],
    },
    Recipe {
        name: "erlang-hand",
        title: "Erlang's gen_tcp, by hand",
        needs: &[],
        build: &[&["erlc", "-o", "{out}", "{sources}/erlang/by_hand.erl"]],
        run: &["sh", "-c", ERLANG, "{out}", "by_hand"],
        version: &[OTP],
    },
    Recipe {
        name: "uvloop",
        title: "asyncio on uvloop, a Protocol",
        needs: &[(&["python3", "-c", "import uvloop"], "uvloop is not installed")],
        build: &[],
        run: &["python3", "{sources}/python/uvloop_echo.py"],
        version: &[
            Part {
                label: "uvloop",
                said_by: &["python3", "-c", "import uvloop; print(uvloop.__version__)"],
                after: "",
                before: "\n",
            },
            PYTHON,
        ],
    },
    Recipe {
        name: "python-threads",
        title: "a thread a client, Python's socket",
        needs: &[],
        build: &[],
        run: &["python3", "{sources}/python/threads.py"],
        version: &[PYTHON],
    },
];

const CARGO: Words = &[
    "{cargo}",
    "build",
    "--quiet",
    "--release",
    "--locked",
    "--manifest-path",
    "{sources}/rust/Cargo.toml",
    "--target-dir",
    "{crate}",
];

/// Our own class, and those of Netty that it takes.
const NETTY: &str = concat!(
    "{out}/netty",
    ":/usr/share/java/netty-buffer.jar",
    ":/usr/share/java/netty-codec.jar",
    ":/usr/share/java/netty-common.jar",
    ":/usr/share/java/netty-resolver.jar",
    ":/usr/share/java/netty-transport.jar",
    ":/usr/share/java/netty-transport-native-epoll.jar",
    ":/usr/share/java/netty-transport-native-unix-common.jar",
);

/// Those that do not answer every connection in time when there are more.
const CONNECTIONS_MAX: [(&str, usize); 1] = [("python-threads", 1_000)];

/// One scheduler, which sleeps when there is nothing to do. The runtime does not raise the limit of descriptors by itself.
const ERLANG: &str = "ulimit -n $(ulimit -Hn); exec erl -noinput +S 1 +SDcpu 1 +SDio 1 \
    +sbwt none +sbwtdcpu none +sbwtdio none +P 65536 +Q 65536 -pa \"$0\" -run \"$1\" main 0";

const OTP: Part = Part {
    label: "OTP",
    said_by: &["erl", "-noinput", "-eval", "io:put_chars(erlang:system_info(otp_release)), halt()."],
    after: "",
    before: "\n",
};

const TOKIO: Part = Part {
    label: "tokio",
    said_by: &["grep", "-A1", "name = \"tokio\"", "{sources}/rust/Cargo.lock"],
    after: "version = \"",
    before: "\"",
};

const PYTHON: Part = Part { label: "Python", said_by: &["python3", "--version"], after: "Python ", before: "\n" };

fn words(words: Words, folder: &Path) -> Vec<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let crates = folder.parent().unwrap_or(folder).join("peers");
    let filled = |word: &&str| {
        word.replace("{sources}", &sources.display().to_string())
            .replace("{out}", &folder.display().to_string())
            .replace("{crate}", &crates.display().to_string())
            .replace("{cargo}", &cargo)
    };
    words.iter().map(filled).collect()
}

/// What a command writes to stdout; when it fails, the end of what it wrote.
fn said(words: &[String]) -> Outcome<String> {
    let (program, arguments) = words.split_first().ok_or("an empty command")?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(|error| {
        if error.kind() == ErrorKind::NotFound {
            format!("{program} is not installed")
        } else {
            format!("{program} does not run: {error}")
        }
    })?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let all = stdout + &String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = all.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    Err(format!("{program} failed: {}", last.join("; ")))
}

const LAST_LINES: usize = 4;
