// GNUstep's headers name it; nothing of it is used where code is checked and not run.
