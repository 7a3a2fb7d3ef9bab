use pfs_core::checksum::{Checksum, Piece};
use pfs_core::extent::ObjectOffset;
use pfs_core::ids::{FileId, ObjectId};
use pfs_file_server::store::{ObjectStore, PosixOptions, PosixStore};
use pfs_proto::data::{ObjectExtent, pieces};
use std::os::unix::fs::FileExt;

const OBJECT_BYTES: u64 = 64 << 20;

fn cpu() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}
struct Request { extents: Vec<ObjectExtent>, bytes: Vec<u8>, checksums: Vec<Checksum> }
fn request(extents: Vec<ObjectExtent>) -> Request {
    let length: u64 = extents.iter().map(|e| e.length()).sum();
    let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
    let mut rest = &bytes[..];
    let checksums = pieces(&extents).map(|p: Piece| { let (a, b) = rest.split_at(p.length); rest = b; Checksum::of(a) }).collect();
    Request { extents, bytes, checksums }
}
fn median(mut v: Vec<f64>) -> f64 { v.sort_by(f64::total_cmp); v[v.len() / 2] }
fn main() {
    let id = ObjectId { file: FileId::new(1).unwrap(), slot: 0 };
    for (name, length, mis, n) in [("4K aligned", 4096u64, 0u64, 1u64), ("4K across blocks", 4096, 1000, 1), ("256x4K list", 4096, 0, 256), ("1M aligned", 1 << 20, 0, 1), ("1M across units", 1 << 20, 1000, 1)] {
        let dir = std::path::PathBuf::from(format!("/dev/shm/store-cost-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        {
            let store = PosixStore::open(&dir.join("objects"), PosixOptions::default()).unwrap();
            let plain = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(dir.join("plain")).unwrap();
            store.create(id).unwrap();
            for o in (0..OBJECT_BYTES).step_by(1 << 20) {
                let r = request(vec![ObjectExtent::new(ObjectOffset(o), 1 << 20).unwrap()]);
                store.write(id, &r.extents, &[&r.bytes], &r.checksums).unwrap();
                plain.write_all_at(&r.bytes, o).unwrap();
            }
            store.commit(id).unwrap();
            let slots = OBJECT_BYTES / length - 1;
            let requests: Vec<Request> = (0..32u64).map(|q| request((q * n..(q + 1) * n).map(|i| ObjectExtent::new(ObjectOffset((i * 7919 % slots) * length + mis), length).unwrap()).collect())).collect();
            let rounds = (if length * n >= 1 << 20 { 2 } else { 60 }) as usize;
            let mut figures = [vec![], vec![], vec![], vec![]];
            let mut into = vec![0u8; (length * n) as usize];
            let mut sums = Vec::new();
            for _ in 0..31 {
                let per = (rounds * requests.len()) as f64 * n as f64;
                let t = cpu();
                for _ in 0..rounds { for r in &requests { let mut at = 0; for e in &r.extents { let l = e.length() as usize; plain.write_all_at(&r.bytes[at..at + l], e.offset().0).unwrap(); at += l; } } }
                figures[0].push((cpu() - t) / per);
                let t = cpu();
                for _ in 0..rounds { for r in &requests { if !store.write_now(id, &r.extents, &[&r.bytes], &r.checksums).unwrap() { store.write(id, &r.extents, &[&r.bytes], &r.checksums).unwrap(); } } }
                figures[1].push((cpu() - t) / per);
                let t = cpu();
                for _ in 0..rounds { for r in &requests { let mut at = 0; for e in &r.extents { let l = e.length() as usize; plain.read_exact_at(&mut into[at..at + l], e.offset().0).unwrap(); at += l; } } }
                figures[2].push((cpu() - t) / per);
                let t = cpu();
                for _ in 0..rounds { for r in &requests { sums.clear(); assert!(store.read_now(id, &r.extents, &mut into, &mut sums).unwrap()); } }
                figures[3].push((cpu() - t) / per);
            }
            let m: Vec<f64> = figures.into_iter().map(|v| median(v) * 1e6).collect();
            println!("{name}: write plain {:.2} us, store {:.2} us (x{:.2}, +{:.2}); read plain {:.2} us, store {:.2} us (x{:.2}, +{:.2})", m[0], m[1], m[1] / m[0], m[1] - m[0], m[2], m[3], m[3] / m[2], m[3] - m[2]);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
