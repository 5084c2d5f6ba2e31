//! Codes of rows, for comparison with SAELens (scripts/check_saelens.py).
//!
//! Run with a folder: trains a small autoencoder of each kind on `rows.safetensors` (`rows` [n_rows, width]), and writes
//! for each `<kind>/` as SAELens loads it and `<kind>.safetensors` with its `codes` [n_rows, n_latents] and
//! `reconstructions` [n_rows, width].

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sparse_autoencoders::autoencoder::InputNormalization;
use sparse_autoencoders::codes::Codes;
use sparse_autoencoders::formats::saelens::export;
use sparse_autoencoders::training::config::{Method, TrainingConfig};
use sparse_autoencoders::training::trainer::{Batch, Trainer};

const N_LATENTS: usize = 512;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("expected a folder")?);
    let bytes = fs::read(folder.join("rows.safetensors"))?;
    let file = SafeTensors::deserialize(&bytes)?;
    let view = file.tensor("rows")?;
    let &[n_rows, width] = view.shape() else { return Err("expected rows as a matrix".into()) };
    let rows: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let kinds = [
        ("relu", Method::Relu { l1: 0.5 }, InputNormalization::None),
        ("top_k", Method::TopK { k: 8 }, InputNormalization::None),
        ("top_k_layer_norm", Method::TopK { k: 8 }, InputNormalization::LayerNorm { epsilon: 1e-5 }),
        ("top_k_constant_norm", Method::TopK { k: 8 }, InputNormalization::ConstantNorm),
        ("batch_top_k_scaled", Method::BatchTopK { k: 8 }, InputNormalization::Scale { inputs: 0.7, outputs: 0.7 }),
        ("matryoshka", Method::Matryoshka { k: 8, prefixes: vec![128, N_LATENTS] }, InputNormalization::None),
        ("jump_relu", Method::JumpRelu { l0: 0.1, bandwidth: 0.1, initial_threshold: 0.1 }, InputNormalization::None),
        ("gated", Method::Gated { l1: 0.5 }, InputNormalization::None),
    ];
    for (name, method, input_normalization) in kinds {
        let mut config = TrainingConfig::with_method(method, width, N_LATENTS, n_rows, 200);
        config.input_normalization = input_normalization;
        config.adam.learning_rate = 1e-3;
        let mut trainer = Trainer::new(config, Batch::of(&rows))?;
        for _ in 0..200 {
            trainer.step(Batch::of(&rows))?;
        }
        let autoencoder = trainer.finish();
        export::write(&autoencoder, &export::Metadata::default(), &folder.join(name))?;
        let mut codes = vec![0.0_f32; n_rows * N_LATENTS];
        autoencoder.encode_dense(&rows, &mut codes)?;
        let mut out = vec![0.0_f32; rows.len()];
        autoencoder.reconstruct(&rows, &mut Codes::default(), &mut out)?;
        let views = [
            ("codes", TensorView::new(Dtype::F32, vec![n_rows, N_LATENTS], bytemuck::cast_slice(&codes))?),
            ("reconstructions", TensorView::new(Dtype::F32, vec![n_rows, width], bytemuck::cast_slice(&out))?),
        ];
        fs::write(folder.join(format!("{name}.safetensors")), safetensors::serialize(views, None)?)?;
    }
    Ok(())
}
