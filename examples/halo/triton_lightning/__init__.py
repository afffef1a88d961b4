"""Lightning attention on GPUs, with its gradients."""
