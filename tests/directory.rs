//! A process that changes its directory. The only test of its binary: a directory is the whole process's.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::{env, fs};

use frameloop::{Address, Config, Echo, Reactor};

#[test]
fn relative_unix_path_is_removed_from_its_directory() {
    let root = env::temp_dir().join(format!("frameloop-directory-{}", std::process::id()));
    let (bound_in, elsewhere) = (root.join("bound in"), root.join("elsewhere"));
    for directory in [&bound_in, &elsewhere] {
        fs::create_dir_all(directory).unwrap();
        fs::create_dir_all(directory.join("below")).unwrap();
    }
    // Another server's, which has the same name where the process goes.
    let decoy = elsewhere.join("a.sock");
    let _other = std::os::unix::net::UnixListener::bind(&decoy).unwrap();

    for (path, end) in [("a.sock", "dropped"), ("./below/../b.sock", "stopped"), ("below/c.sock", "drained")] {
        env::set_current_dir(&bound_in).unwrap();
        let mut reactor = Reactor::new(Config::default(), Echo).unwrap();
        reactor.listen(&Address::Unix(path.into())).unwrap();
        assert!(Path::new(path).exists());
        env::set_current_dir(&elsewhere).unwrap();
        match end {
            "stopped" => reactor.stop(),
            "drained" => reactor.drain(),
            _ => drop(reactor),
        }
        assert!(!bound_in.join(path).exists(), "{path}, {end}");
    }
    assert!(decoy.exists());
    env::set_current_dir("/").unwrap();
    fs::remove_dir_all(&root).unwrap();
}
