"""What was wrong and is put right: patients, studies, rejected images, reports about the wrong person."""
