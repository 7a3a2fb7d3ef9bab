//! The cluster secret, and the proof of it that every call but health carries.
//!
//! Invariants:
//! * the secret itself never leaves its file and this module: on the wire there is only an HMAC of a fixed label;
//! * the view key is an HMAC of another label: who has it may look, and can neither call anything nor find the secret;
//! * a secret file holds 32 random bytes as 64 hex digits, and only its owner may read it: it is made with mode 0600
//!   and refused when group or others have any right to it;
//! * proofs are compared in constant time.

use crate::status::{ErrorCode, status};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Bytes of a secret.
pub const SECRET_BYTES: usize = 32;
/// The header of the proof.
pub const AUTHORIZATION: &str = "authorization";

const LABEL: &[u8] = b"pfs.v1 the caller knows the cluster secret";
const VIEW_LABEL: &[u8] = b"pfs.v1 the bearer may look at the cluster";
const FILE_BYTES_MAX: u64 = 1024;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A new secret would replace a file.
    #[error("{} exists already; a secret is never replaced, remove the file first or name another one", .0.display())]
    Exists(PathBuf),
    /// The file cannot be made.
    #[error("cannot make the secret file {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read the secret file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a regular file.
    #[error("the secret file {} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Others may read or write it.
    #[error("the secret file {} has mode {mode:04o}; others must have no access to it: chmod 600 {}", path.display(), path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is not a secret.
    #[error("the secret file {} does not hold {} hex digits on one line; make it with `pfs start` or copy it whole", .0.display(), 2 * SECRET_BYTES)]
    Malformed(PathBuf),
}

/// The secret that all members of a cluster share.
#[derive(Clone)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// A secret of these bytes.
    pub const fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Secret(bytes)
    }

    /// Makes a new secret and its file, which must not exist.
    pub fn generate_file(path: &Path) -> Result<Self, SecretError> {
        let failed = |source| SecretError::Create { path: path.to_owned(), source };
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| failed(error.into()))?;
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(SecretError::Exists(path.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        };
        let written = writeln!(file, "{}", hex(&bytes)).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // A half-written secret would be in the way of the next attempt.
            let _ = std::fs::remove_file(path);
            return Err(failed(error));
        }
        Ok(Secret(bytes))
    }

    /// Reads a secret from its file, which only its owner may be able to read.
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        let failed = |source| SecretError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(SecretError::NotAFile(path.to_owned()));
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SecretError::Permissions { path: path.to_owned(), mode });
        }
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
        parse_hex(text.trim_ascii()).map(Secret).ok_or_else(|| SecretError::Malformed(path.to_owned()))
    }

    /// The secret in the text of its file; nothing if there is none in it.
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text.trim().as_bytes()).map(Secret)
    }

    /// Hex HMAC-SHA256 of a fixed label: shows that its bearer knows the secret without telling it.
    pub fn proof(&self) -> String {
        self.derived(LABEL)
    }

    /// Opens what is only to be looked at: metrics and the page.
    pub fn view_key(&self) -> ViewKey {
        ViewKey(self.derived(VIEW_LABEL))
    }

    fn derived(&self, label: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(label);
        hex(&mac.finalize().into_bytes())
    }
}

/// The right to look at a cluster, as hex digits that fit into a URL.
#[derive(Clone)]
pub struct ViewKey(String);

impl ViewKey {
    /// The key, for whom the operator wants to give it to.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the key; takes the same time wherever it differs.
    pub fn is(&self, given: &[u8]) -> bool {
        given.ct_eq(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for ViewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ViewKey(…)")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Client side: adds the proof to every call.
#[derive(Clone)]
pub struct AuthInterceptor {
    bearer: MetadataValue<Ascii>,
}

impl AuthInterceptor {
    /// Proves knowledge of `secret`.
    pub fn new(secret: &Secret) -> Self {
        let mut bearer = MetadataValue::try_from(format!("Bearer {}", secret.proof())).expect("hex digits are ASCII");
        bearer.set_sensitive(true);
        AuthInterceptor { bearer }
    }

    /// The value of the `authorization` header, for calls that are not made through a generated client.
    pub fn bearer(&self) -> &MetadataValue<Ascii> {
        &self.bearer
    }
}

impl fmt::Debug for AuthInterceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthInterceptor(…)")
    }
}

impl Interceptor for AuthInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(AUTHORIZATION, self.bearer.clone());
        Ok(request)
    }
}

/// Server side: refuses calls without the proof.
#[derive(Clone)]
pub struct RequireSecret {
    bearer: String,
}

impl RequireSecret {
    /// Lets those pass that know `secret`.
    pub fn new(secret: &Secret) -> Self {
        RequireSecret { bearer: format!("Bearer {}", secret.proof()) }
    }

    /// Whether the headers of a call carry the proof. The status of a refusal does not tell what was wrong with it.
    pub fn verify(&self, headers: &MetadataMap) -> Result<(), Status> {
        let given = headers.get(AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
        if bool::from(given.ct_eq(self.bearer.as_bytes())) {
            return Ok(());
        }
        Err(status(
            ErrorCode::Unauthenticated,
            "the caller did not prove knowledge of the cluster secret; set PFS_SECRET_FILE to the secret file of this cluster",
        ))
    }
}

impl fmt::Debug for RequireSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequireSecret(…)")
    }
}

impl Interceptor for RequireSecret {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.verify(request.metadata()).map(|()| request)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hex(text: &[u8]) -> Option<[u8; SECRET_BYTES]> {
    if text.len() != 2 * SECRET_BYTES {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; SECRET_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_generated_file_is_private_and_loads_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let made = Secret::generate_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(Secret::load(&path).unwrap().proof(), made.proof());
        assert!(matches!(Secret::generate_file(&path), Err(SecretError::Exists(_))));
        let other = Secret::generate_file(&directory.path().join("other")).unwrap();
        assert_ne!(other.proof(), made.proof());
    }

    #[test]
    fn files_that_others_can_reach_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for mode in [0o640, 0o604, 0o660, 0o644, 0o610, 0o602] {
            write(&path, &"ab".repeat(32), mode);
            match Secret::load(&path) {
                Err(SecretError::Permissions { mode: seen, .. }) => assert_eq!(seen, mode),
                other => panic!("mode {mode:o} gave {other:?}"),
            }
        }
        for mode in [0o600, 0o400] {
            write(&path, &"ab".repeat(32), 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(Secret::load(&path).is_ok(), "mode {mode:o}");
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let long = "ab".repeat(33);
        let spaced = format!("{} {}", "ab".repeat(16), "ab".repeat(16));
        let huge = "ab".repeat(10_000);
        for text in ["", "\n", "abcd", &"zz".repeat(32), &long, &spaced, &huge, &"é".repeat(32)] {
            write(&path, text, 0o600);
            assert!(matches!(Secret::load(&path), Err(SecretError::Malformed(_))), "{text:?}");
        }
        assert!(matches!(Secret::load(&directory.path().join("none")), Err(SecretError::Read { .. })));
        fs::create_dir(directory.path().join("folder")).unwrap();
        assert!(matches!(Secret::load(&directory.path().join("folder")), Err(SecretError::NotAFile(_))));
        assert!(matches!(Secret::generate_file(&directory.path().join("a/b")), Err(SecretError::Create { .. })));
    }

    /// The proof is part of the protocol: a change would lock older peers out.
    #[test]
    fn the_proof_is_stable() {
        let proof = Secret::new([7; 32]).proof();
        assert_eq!(proof, "baec44cb6bb1708847b6c6ee9d4a43f0344791f17c6764188fbe423ab03373d7");
    }

    /// It stands in bookmarks and in the settings of whoever collects metrics.
    #[test]
    fn the_view_key_is_stable_and_no_proof() {
        let (secret, other) = (Secret::new([7; 32]), Secret::new([8; 32]));
        let key = secret.view_key();
        assert_eq!(key.as_str(), "3975dccfc007a4c92ae87dbebcc42fa7415aceb14e75bce1c81f01c0da64a3bc");
        assert_ne!(key.as_str(), secret.proof());
        assert!(key.is(key.as_str().as_bytes()));
        for wrong in ["", &key.as_str()[1..], &format!("{}0", key.as_str()), other.view_key().as_str(), &secret.proof()]
        {
            assert!(!key.is(wrong.as_bytes()), "{wrong:?}");
        }
    }

    #[test]
    fn only_the_exact_proof_passes() {
        let secret = Secret::new([1; 32]);
        let guard = RequireSecret::new(&secret);
        let request = AuthInterceptor::new(&secret).call(Request::new(())).unwrap();
        assert!(guard.verify(request.metadata()).is_ok());

        let proof = secret.proof();
        let wrong = AuthInterceptor::new(&Secret::new([2; 32])).call(Request::new(())).unwrap();
        assert_eq!(guard.verify(wrong.metadata()).unwrap_err().code(), tonic::Code::Unauthenticated);
        for header in [
            "",
            "Bearer ",
            &proof,
            &format!("bearer {proof}"),
            &format!("Bearer {proof} "),
            &format!("Bearer {}", &proof[1..]),
        ] {
            let mut request = Request::new(());
            request.metadata_mut().insert(AUTHORIZATION, header.parse().unwrap());
            assert_eq!(
                guard.verify(request.metadata()).unwrap_err().code(),
                tonic::Code::Unauthenticated,
                "{header:?}"
            );
        }
        assert!(guard.verify(&MetadataMap::new()).is_err());
    }

    #[test]
    fn nothing_prints_the_secret() {
        let secret = Secret::new([0xab; 32]);
        let (client, server) = (AuthInterceptor::new(&secret), RequireSecret::new(&secret));
        let shown = format!("{secret:?} {client:?} {server:?} {:?}", secret.view_key());
        assert!(!shown.contains(secret.view_key().as_str()));
        assert!(!shown.contains("abab") && !shown.contains(&secret.proof()) && !shown.contains("171"), "{shown}");
    }
}
