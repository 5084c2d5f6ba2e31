//! What is written is what is read.

use super::*;
use crate::training::config::{Method, TrainingConfig};
use crate::training::trainer::{Batch, Trainer};

#[test]
fn every_architecture_reads_back() {
    let methods = [
        Method::TopK { k: 2 },
        Method::Gated { l1: 0.1 },
        Method::JumpRelu { l0: 0.1, bandwidth: 0.1, initial_threshold: 0.1 },
        Method::Relu { l1: 0.1 },
    ];
    for method in methods {
        let config = TrainingConfig::with_method(method, 3, 8, 4, 10);
        let mut autoencoder = Trainer::new(config, Batch::of(&[0.5, -1.0, 2.0, 1.0, 0.0, 0.25])).unwrap().finish();
        autoencoder.w_skip = Some(vec![0.5; 9]);
        let folder = tempfile::tempdir().unwrap();
        let hash = save(&autoencoder, folder.path()).unwrap();
        assert_eq!(load(folder.path()).unwrap(), autoencoder);
        assert_eq!(save(&autoencoder, folder.path()).unwrap(), hash);
        let names: Vec<String> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        // Whoever may read the configuration may read the weights, which are what their hash says.
        let permissions = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions();
        assert_eq!(permissions(WEIGHTS), permissions(CONFIG));
        assert_eq!(sha256(&fs::read(folder.path().join(WEIGHTS)).unwrap()), hash);
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let make = |seed| {
        let config = TrainingConfig { seed, ..TrainingConfig::top_k(3, 8, 2, 4, 10) };
        Trainer::new(config, Batch::of(&[0.5, -1.0, 2.0, 1.0, 0.0, 0.25])).unwrap().finish()
    };
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    save(&make(1), a.path()).unwrap();
    save(&make(2), b.path()).unwrap();
    fs::copy(a.path().join(WEIGHTS), b.path().join(WEIGHTS)).unwrap();
    let error = load(b.path()).unwrap_err();
    assert!(error.to_string().contains("sae.safetensors': expected the weights with SHA-256"), "{error}");
    fs::write(a.path().join(CONFIG), "{}").unwrap();
    assert!(matches!(load(a.path()), Err(Error::Format { .. })));
    assert!(matches!(load(&a.path().join("none")), Err(Error::Io { .. })));
}
