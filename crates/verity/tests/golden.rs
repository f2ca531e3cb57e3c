//! The digests of this crate are those of Debian's `fsverity` (fsverity-utils).

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::process::Command;

use bpftrust_verity::Algorithm::{self, Sha256, Sha512};
use bpftrust_verity::{Descriptor, Error, Parameters};

/// Size, hash function, block size, salt, digest. Made with fsverity 1.5:
/// ```sh
/// yes bpftrust | head -c SIZE > f
/// fsverity digest --hash-alg=HASH --block-size=BLOCK [--salt=HEX] f
/// ```
#[rustfmt::skip]
const GOLDEN: &[(usize, Algorithm, u32, &[u8], &str)] = &[
    (0, Sha256, 4096, b"", "sha256:3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"),
    (1, Sha256, 4096, b"", "sha256:a69c9750a36dc72ee600de98ee0a8ecc947a7b9f2109a08ee42a045a07d0b74c"),
    (4095, Sha256, 4096, b"", "sha256:b65672f3fa32d687139a34adc6b666681590bb8ff974dc94c03244cbe5f719ad"),
    (4096, Sha256, 4096, b"", "sha256:5660be78a3dd3dcf6a28524ed8816fef0940ceb416cd19af4942b4faa2976ca4"),
    (4097, Sha256, 4096, b"", "sha256:e99299b1c16501c25370f8717b8679d875911ce3052151e38939dc34175f3d9b"),
    (524287, Sha256, 4096, b"", "sha256:2ae7c019911909255dde6d2f60f790735acb5e6dbb240c323f25bb1325ac7117"),
    (524288, Sha256, 4096, b"", "sha256:17dbd4e7ac7989f6880f5885804c6a56c433635c7e10eb920ece0daee2976d3f"),
    (524289, Sha256, 4096, b"", "sha256:44002c9994eb3117eff000d99db7628076fbb41eff655136c291a64b46d144e9"),
    (1048576, Sha256, 4096, b"", "sha256:6ea3fd19a3455feed44f78427a8cd88b9ade5536fa59b4f14670f61457c3101a"),
    (67108865, Sha256, 4096, b"", "sha256:d92117d65d0a9f87589f87d5b15dd04207f86331d8dd1602c2211c651d3004bc"),
    (0, Sha512, 4096, b"", "sha512:ccf9e5aea1c2a64efa2f2354a6024b90dffde6bbc017825045dce374474e13d10adb9dadcc6ca8e17a3c075fbd31336e8f266ae6fa93a6c3bed66f9e784e5abf"),
    (1, Sha512, 4096, b"", "sha512:16c75be4beed89dfd0372ff0885d2b89ee4fa214cb27aa208d318dd0300a842aa1c2386e4f3e9fc57eb8b469583a8d4381ef52ac059fd27f7d2e31e4621853f2"),
    (4096, Sha512, 4096, b"", "sha512:a289f140c70ebd58a496e502d99ea78f09b25806cb819e6a4aeba10651f44e6e738f7e3b8f959465e4b02bab70094d9c128bbe5fbf799ca8ac422fb1b736956c"),
    (262144, Sha512, 4096, b"", "sha512:e04ed97e1eb0c0bbbc7806b457cdd625faf0c52cc52a5ec476e0f853506e7e6d3bcb74e611fad9368847714cef71555a1b86a2eff910163c6306d9ea9261e614"),
    (262145, Sha512, 4096, b"", "sha512:6d0bbae90212e314834d7bf359378099d65e3bd86848fc956334cd9f4e395b966bbce817bdf6cbb06ce80e158bbd49069ed0d42b984cb42f99f4764c7003316a"),
    (1048576, Sha512, 4096, b"", "sha512:1b7a89f14d67c3011fb8bf8cd0b8bcd6661992de89079f4dad6f287cf5630ff137ed7eba948c79f58576c2b93ffa6184c8cfa65ce488182360c7da0e6ba979ba"),
    (32769, Sha256, 1024, b"", "sha256:c8f517467b45f81f7ead77810cae356ddef19656738a3829036ab35cafaa7a2f"),
    (1048577, Sha256, 1024, b"", "sha256:e8959e6040674fbb26b451b0c85f656858f93f10cdc7bea44a5c33727f76ba65"),
    (1048576, Sha256, 65536, b"", "sha256:80290a1f5f3122385cf93635aad999cc90d72304121951ea458d5ec6173dd8d6"),
    (4097, Sha256, 4096, b"\xab\xcd", "sha256:042b703e2cf87e7c044bd2aeb3a99156cabc4538807792dd4ac86c08459e60cc"),
    (0, Sha256, 4096, b"\xab\xcd", "sha256:5b02f90bee56fa6f1548fedd0f916cd516da6029e1f037bcb89f2861b3cb784d"),
    (524289, Sha512, 1024, &[b'0'; 32], "sha512:1207c519e59c289e27a47d16cca8812a5eda5eacc08787bf59696fbaabdaf11da1472a98801752293a246fa0567d59b21e52eb2cbba80160e93deb9483557452"),
];

#[test]
fn digests_are_those_that_fsverity_gave() {
    for &(size, algorithm, block_size, salt, expected) in GOLDEN {
        let parameters = Parameters::new(algorithm, block_size, salt).unwrap();
        let descriptor = Descriptor::compute(&content(size)[..], &parameters).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content(size)).unwrap();
        assert_eq!(Descriptor::of_file(&file, &parameters).unwrap(), descriptor);
        assert_eq!(descriptor.data_size(), size as u64);
        assert_eq!(
            descriptor.digest().to_string(),
            expected,
            "{size} bytes, {parameters:?}"
        );
    }
}

#[test]
fn digests_are_those_of_the_installed_fsverity() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f");
    for size in [0, 1, 4096, 5000, 524_288, 3_000_000] {
        fs::write(&path, content(size)).unwrap();
        for algorithm in [Sha256, Sha512] {
            for block_size in [1024, 4096, 16384] {
                let output = Command::new("fsverity")
                    .args(["digest", "--compact", &format!("--hash-alg={algorithm}")])
                    .args([&format!("--block-size={block_size}"), "--salt=00ff"])
                    .arg(&path)
                    .output();
                let output = match output {
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        return eprintln!("left out: fsverity is not installed");
                    }
                    output => output.unwrap(),
                };
                assert!(output.status.success(), "{output:?}");
                let parameters = Parameters::new(algorithm, block_size, b"\0\xff").unwrap();
                let data = fs::File::open(&path).unwrap();
                let digest = Descriptor::compute(data, &parameters).unwrap().digest();
                let expected = String::from_utf8(output.stdout).unwrap();
                assert_eq!(
                    digest.to_string(),
                    format!("{algorithm}:{}", expected.trim())
                );
            }
        }
    }
}

#[test]
fn the_descriptor_is_the_one_that_fsverity_writes() {
    // fsverity digest --out-descriptor=d --salt=abcd f; xxd -p d
    let parameters = Parameters::new(Sha256, 4096, b"\xab\xcd").unwrap();
    let bytes = Descriptor::compute(&content(4097)[..], &parameters)
        .unwrap()
        .to_bytes();
    assert_eq!(
        bytes[..16],
        [1, 1, 12, 2, 0, 0, 0, 0, 1, 16, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(bytes[48..80], [0; 32], "the root hash is padded with zeros");
    assert_eq!(bytes[80..84], [0xab, 0xcd, 0, 0]);
}

#[test]
fn the_size_of_reads_does_not_matter() {
    let data = content(300_000);
    let whole = Descriptor::compute(&data[..], &Parameters::default()).unwrap();
    let trickle = Trickle {
        data: &data,
        interrupted: false,
    };
    let slow = Descriptor::compute(trickle, &Parameters::default()).unwrap();
    assert_eq!(slow, whole);
}

#[test]
fn a_failing_read_is_an_error() {
    let data = content(5000);
    let result = Descriptor::compute(data.as_slice().chain(Broken), &Parameters::default());
    assert!(matches!(result, Err(Error::Read { .. })));
}

fn content(size: usize) -> Vec<u8> {
    let line = b"bpftrust\n";
    let mut content = line.repeat(size / line.len() + 1);
    content.truncate(size);
    content
}

/// Gives few bytes at a time, and is interrupted before each read.
struct Trickle<'a> {
    data: &'a [u8],
    interrupted: bool,
}

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(ErrorKind::Interrupted.into());
        }
        let count = buffer.len().min(1777);
        self.data.read(&mut buffer[..count])
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("broken"))
    }
}
