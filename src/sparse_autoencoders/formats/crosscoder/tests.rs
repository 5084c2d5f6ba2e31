//! Norms and cosines as PyTorch computes them (fixtures: scripts/make_sae_fixtures.py, `crosscoders`).

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crosscoder_fixtures").join(name)
}

#[test]
fn both_forms_have_the_norms_that_pytorch_computes() {
    let mut expected = Tensors::read_safetensors(&fixture("expected.safetensors")).unwrap();
    let [decoder, encoder] = ["decoder_norms", "encoder_norms"].map(|name| expected.take(name, &[2, 24]).unwrap());
    let cosines = expected.take("decoder_cosines", &[24]).unwrap();
    let near = |got: &[f64], expected: &[f32]| {
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(expected).all(|(got, expected)| (got - f64::from(*expected)).abs() < 1e-6), "{got:?}");
    };
    let forms = [("arrays/3.pt", "crosscoder"), ("layers", "dictionary_learning")];
    let read = forms.map(|(name, format)| {
        let crosscoder = read(&fixture(name)).unwrap();
        assert_eq!((crosscoder.n_sites, crosscoder.width, crosscoder.n_latents), (2, 6, 24));
        assert_eq!(crosscoder.format, format);
        for site in 0..2 {
            near(&crosscoder.decoder_norms(site), &decoder[site * 24..][..24]);
            near(&crosscoder.encoder_norms(site), &encoder[site * 24..][..24]);
        }
        let found = crosscoder.decoder_cosines(0, 1);
        assert_eq!(found[7], None, "it writes to neither");
        let found: Vec<f64> = found.into_iter().map(|cosine| cosine.unwrap_or(0.0)).collect();
        near(&found, &cosines);
        crosscoder
    });
    assert_eq!(read[0].hook_point.as_deref(), Some("blocks.14.hook_resid_pre"));
    assert_eq!((&read[0].w_enc, &read[0].w_dec), (&read[1].w_enc, &read[1].w_dec));
}

#[test]
fn what_is_no_crosscoder_is_refused() {
    let error = super::super::read(&fixture("layers")).unwrap_err().to_string();
    assert!(error.contains("a crosscoder") && error.contains("import-crosscoder"), "{error}");
    let autoencoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dictionary_learning_relu");
    let error = read(&autoencoder).unwrap_err().to_string();
    assert!(error.contains("expected a crosscoder"), "{error}");
    // The configuration and the weights disagree.
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("arrays/3.pt"), folder.path().join("cc_weights.pt")).unwrap();
    std::fs::write(folder.path().join("cfg.json"), "{\"dict_size\": 25}").unwrap();
    let error = read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("field 'dict_size': 24"), "{error}");
}
