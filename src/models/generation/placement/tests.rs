//! What is accepted, and what is said about the rest.

use super::*;

#[test]
fn devices_and_precisions_are_written_as_they_are_read() {
    for (text, device) in
        [("auto", Device::Auto), ("cpu", Device::Cpu), ("cuda:0", Device::Cuda(0)), ("cuda:12", Device::Cuda(12))]
    {
        assert_eq!((text.parse::<Device>().unwrap(), device.to_string().as_str()), (device, text));
    }
    assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
    for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "CUDA"] {
        let error = text.parse::<Device>().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(error.to_string(), format!("--device: expected auto, cpu, cuda or cuda:NUMBER, got '{text}'"));
    }
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
