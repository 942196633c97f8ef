"""Commands beside the job: the doctor, the demo, the configuration reference."""
