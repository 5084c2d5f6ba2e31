//! What is accepted, and what is said about the rest.

use super::*;

#[test]
fn precisions_are_written_as_they_are_read() {
    for (text, precision) in [("f32", Precision::F32), ("bf16", Precision::Bf16), ("f16", Precision::F16)] {
        assert_eq!((text.parse::<Precision>().unwrap(), precision.to_string().as_str()), (precision, text));
    }
    assert!("f64".parse::<Precision>().unwrap_err().to_string().contains("expected f32, bf16 or f16, got 'f64'"));
}

#[test]
fn what_the_processor_cannot_do_is_refused() {
    let refused = |device, precision| Placement { device, precision }.check().unwrap_err();
    let error = refused(Device::Cpu, Precision::Bf16);
    assert!(error.to_string().contains("expected f32 on the processor"), "{error}");
    assert_eq!(error.exit_code(), 2);
    assert!(Placement { device: Device::Cpu, precision: Precision::F32 }.check().is_ok());
    assert!(Placement::default().check().is_ok());
    if cfg!(not(feature = "cuda")) {
        let error = refused(Device::Cuda(1), Precision::F32);
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("'cuda:1': this program was built without CUDA; build it with"), "{error}");
        assert!(refused(Device::Auto, Precision::F16).to_string().contains("needs --device cuda"));
    }
}
