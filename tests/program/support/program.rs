//! The program as a user runs it, with nothing of this machine's environment that could lead it elsewhere.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

/// `xcept` without the caller's settings for the hub, proxies, certificates and caches.
pub fn xcept() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xcept"));
    for (name, _) in std::env::vars_os() {
        let upper = name.to_string_lossy().to_uppercase();
        if ["HF_", "HUGGING", "XCEPT_", "XDG_", "RAYON_", "RUST_LOG"].iter().any(|start| upper.starts_with(start))
            || ["_PROXY", "CA_BUNDLE", "SSL_CERT_FILE"].iter().any(|end| upper.ends_with(end))
        {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Signals that are ignored where the tests run, under nohup or in the background of a script, end the program all the
/// same.
#[cfg(unix)]
fn heed_signals(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    let heed = || {
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            // SAFETY: `signal` may be called between fork and exec, and the default action needs no memory of ours.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: `heed` allocates nothing and takes no lock.
    unsafe { command.pre_exec(heed) };
}

/// A user with an empty folder to work in, no cache and no network.
pub struct Desk {
    folder: TempDir,
}

impl Desk {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `xcept` in this folder; every argument is one word.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = xcept();
        #[cfg(unix)]
        heed_signals(&mut command);
        command.args(arguments).current_dir(self.folder.path());
        command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", self.path("hf")).env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    /// `xcept` in this folder, with the hub at `endpoint` for a network.
    pub fn online(&self, endpoint: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", endpoint);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Copies a photograph of `samples/` to `name`.
    pub fn add_sample(&self, sample: &str, name: &str) {
        self.write(name, &std::fs::read(samples().join(sample)).unwrap());
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Writes `count` different crops of a photograph of `samples/` as `FOLDER/0.png`, `FOLDER/1.png`, ….
pub fn add_crops(desk: &Desk, sample: &str, folder: &str, count: u32) {
    let picture = image::open(samples().join(sample)).unwrap();
    std::fs::create_dir_all(desk.path(folder)).unwrap();
    for index in 0..count {
        let (width, height) = (picture.width() - 5 * index, picture.height() - 3 * index);
        picture.crop_imm(2 * index, index, width, height).save(desk.path(&format!("{folder}/{index}.png"))).unwrap();
    }
}

/// The bundled base with a made-up 1,000-class head, as a file of timm's on the hub.
pub fn thousand_classes() -> Vec<u8> {
    let base = std::fs::read(root().join("weights/xception-imagenet-base.safetensors")).unwrap();
    let base = safetensors::SafeTensors::deserialize(&base).unwrap();
    // Class 281 looks at all features, the others at none.
    let mut weight = vec![0; 2 * 1000 * 2048];
    weight[2 * 281 * 2048..2 * 282 * 2048].chunks_exact_mut(2).for_each(|half| half.copy_from_slice(&[0x00, 0x3c]));
    let (bias, counter) = (vec![0; 2 * 1000], 7_i64.to_le_bytes());
    let mut tensors = base.tensors();
    tensors.push(("fc.weight".into(), TensorView::new(Dtype::F16, vec![1000, 2048], &weight).unwrap()));
    tensors.push(("fc.bias".into(), TensorView::new(Dtype::F16, vec![1000], &bias).unwrap()));
    tensors.push(("bn1.num_batches_tracked".into(), TensorView::new(Dtype::I64, vec![], &counter).unwrap()));
    safetensors::serialize(tensors, None).unwrap()
}

/// How a run ended.
pub struct Ran {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The run ended with `status`, and what it said has all `parts` in its one line on stderr.
    #[track_caller]
    pub fn assert_failed(&self, status: i32, parts: &[&str]) {
        assert_eq!(self.status, Some(status), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "more than a line: {}", self.stderr);
    }

    #[track_caller]
    pub fn assert_done(&self) -> &Self {
        assert_eq!(self.status, Some(0), "{}", self.stderr);
        self
    }

    /// Each line of stdout as JSON.
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn samples() -> PathBuf {
    root().join("samples")
}

pub fn sample(name: &str) -> String {
    samples().join(name).to_string_lossy().into_owned()
}
