//! Loss and gradients of one batch, for comparison with PyTorch (scripts/check_sae_gradients.py).
//!
//! Run with a folder: reads `case.json` (a training configuration) and `case.safetensors` (`inputs`, `targets`, the weights
//! by their names, `rows_since_fired`), and writes `loss.txt` and `gradients.safetensors`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sparse_autoencoders::training::config::TrainingConfig;
use sparse_autoencoders::training::parameters::Parameters;
use sparse_autoencoders::training::trainer::{Batch, Trainer};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("expected a folder")?);
    let config: TrainingConfig = serde_json::from_slice(&fs::read(folder.join("case.json"))?)?;
    let bytes = fs::read(folder.join("case.safetensors"))?;
    let file = SafeTensors::deserialize(&bytes)?;
    let read = |name: &str| -> Vec<f32> {
        let data = file.tensor(name).map(|view| view.data().to_vec()).unwrap_or_default();
        data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let (inputs, targets) = (read("inputs"), read("targets"));
    let batch = if targets.is_empty() { Batch::of(&inputs) } else { Batch { inputs: &inputs, targets: &targets } };
    let mut trainer = Trainer::new(config, batch)?;
    trainer.set_parameters(Parameters {
        w_enc: read("W_enc"),
        b_enc: read("b_enc"),
        w_dec: read("W_dec"),
        b_dec: read("b_dec"),
        thresholds: read("thresholds"),
        log_scale: read("r_mag"),
        magnitude_bias: read("b_mag"),
    })?;
    trainer.set_rows_since_fired(read("rows_since_fired").iter().map(|rows| *rows as u64).collect())?;
    let (loss, gradients) = trainer.gradients(batch)?;
    fs::write(folder.join("loss.txt"), format!("{loss:?}"))?;
    let mut views = Vec::new();
    for (name, values) in gradients.named() {
        views.push((name, TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values))?));
    }
    fs::write(folder.join("gradients.safetensors"), safetensors::serialize(views, None)?)?;
    Ok(())
}
