"""An AWS on this machine: our SageMaker, which really runs containers, in front of moto."""
