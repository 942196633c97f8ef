"""What scenes there are: found, named, and told apart."""
