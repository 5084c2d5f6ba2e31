//! Every stored type that published files use is widened to f32.

use candle_core::Tensor;
use candle_core::quantized::{GgmlDType, QTensor, gguf_file};

use super::*;
use crate::random::mix;

#[test]
fn every_common_type_is_widened() {
    // (type, largest error of a value in [-1, 1)): half a step of the blocks' own scale, more where scales are themselves rounded.
    let types = [
        (GgmlDType::F32, 0.0),
        (GgmlDType::F16, 5e-4),
        (GgmlDType::BF16, 4e-3),
        (GgmlDType::Q8_0, 5e-3),
        (GgmlDType::Q5_0, 0.07),
        (GgmlDType::Q5_1, 0.04),
        (GgmlDType::Q4_0, 0.14),
        (GgmlDType::Q4_1, 0.075),
        (GgmlDType::Q6K, 0.04),
        (GgmlDType::Q5K, 0.06),
        (GgmlDType::Q4K, 0.12),
        (GgmlDType::Q3K, 0.3),
        (GgmlDType::Q2K, 0.5),
    ];
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..512).map(|i| (mix(1, i, 0) >> 40) as f32 / (1 << 23) as f32 - 1.0).collect();
    let tensor = Tensor::from_slice(&values, (2, 256), &Device::Cpu).unwrap();
    for (kind, tolerance) in types {
        let path = folder.path().join(format!("{kind:?}.gguf"));
        let stored = QTensor::quantize(&tensor, kind).unwrap();
        let architecture = Value::String("llama".to_owned());
        let mut file = File::create(&path).unwrap();
        let metadata = [("general.architecture", &architecture)];
        gguf_file::write(&mut file, &metadata, &[("blk.0.ffn_up.weight", &stored)]).unwrap();
        drop(file);
        let read = GgufFile::open(&path).unwrap().load("layers.0.mlp.up_proj.weight", &[2, 256]).unwrap();
        for (read, value) in read.iter().zip(&values) {
            assert!((read - value).abs() <= tolerance, "{kind:?}: expected {value}, got {read}");
        }
    }
}
